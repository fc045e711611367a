"""Training: one loop for every family."""

from sfumato.training.budget import Budget
from sfumato.training.ledger import Ledger
from sfumato.training.trainer import Trainer

__all__ = ["Budget", "Ledger", "Trainer"]
