"""State: everything that a training needs to go on from, put into a checkpoint and taken out again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from sfumato.errors import WeightsError
from sfumato.families.base import Family
from sfumato.training import checkpoint
from sfumato.training.averages import Average
from sfumato.training.ledger import Ledger
from sfumato.training.turn import Turn


@dataclass
class Progress:
    """Where a training stands, beside its ledger."""

    stage: int = 0
    position: int = 0
    """Images drawn so far; more than were charged where a player's turns are not in the budget."""
    saved: int = 0
    """Images that stages which ended early left over."""
    ended: bool = False
    """Whether this stage ended early."""
    fitted: list[int] = field(default_factory=list)
    """Stages whose `fit` is done."""
    flops: dict[str, float] = field(default_factory=dict)
    """Operations of each objective, counted once."""


def save(
    folder: Path, family: Family, average: Average, turns: Mapping[str, Turn], ledger: Ledger, progress: Progress
) -> None:
    """Write a checkpoint.

    Raises: DataError: it cannot be written; the older one stays.
    """
    tensors = {f"family.{name}": value for name, value in family.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.values.items()}
    for name, turn in turns.items():
        tensors |= checkpoint.optimizer_tensors(name, turn.optimizer)
    facts = {"ledger": ledger.model_dump(), "progress": asdict(progress)}
    checkpoint.save_checkpoint(folder, progress.position, tensors, facts)


def load(folder: Path) -> tuple[dict[str, Tensor], Ledger, Progress] | None:
    """The newest checkpoint's tensors and facts, or None.

    Raises: WeightsError: it is damaged or of another version.
    """
    found = checkpoint.load_checkpoint(folder)
    if found is None:
        return None
    tensors, facts = found
    try:
        return tensors, Ledger.model_validate(facts["ledger"]), Progress(**facts["progress"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"the checkpoint in {folder} cannot be used ({str(error).splitlines()[0]}); remove it to start again"
        ) from None


def restore(tensors: Mapping[str, Tensor], family: Family, average: Average, where: Path) -> None:
    """Put weights and averages back.

    Raises: WeightsError: they are of another training.
    """

    def part(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    try:
        family.load_state_dict(part("family."))
        average.load(part("average."))
    except (RuntimeError, KeyError):
        raise WeightsError(f"the checkpoint in {where} is of another training; remove it") from None
