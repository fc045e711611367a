"""Training: one loop for every family."""

from sfumato.training.ledger import Ledger
from sfumato.training.trainer import Budget, Trainer

__all__ = ["Budget", "Ledger", "Trainer"]
