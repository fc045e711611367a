"""TensorBoard, for those who like to watch: losses by images, written beside the run. An extra."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sfumato.errors import CapabilityError
from sfumato.training.ledger import Ledger
from sfumato.training.state import Watch


def tensorboard(folder: Path, also: Watch | None = None) -> Watch:
    """A `watch` for a Trainer that writes each loss term below `folder`, and then calls `also`.

    Raises: CapabilityError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise CapabilityError("TensorBoard is missing; pip install 'sfumato[tensorboard]'") from None
    writer = SummaryWriter(log_dir=str(folder))

    def watch(ledger: Ledger, terms: Mapping[str, float]) -> None:
        for name, value in terms.items():
            writer.add_scalar(name.replace(".", "/"), value, global_step=ledger.images)
        writer.add_scalar("images_per_second", ledger.images / max(ledger.seconds, 1e-9), global_step=ledger.images)
        writer.flush()
        if also is not None:
            also(ledger, terms)

    return watch
