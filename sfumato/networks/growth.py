"""Growth: a network that learns small images first; where it stands travels with its weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Growing(nn.Module, ABC):
    """Where a network stands: its level, and how much of the newest blocks is faded in. Both travel with the weights."""

    level: Tensor
    fade: Tensor

    def __init__(self, levels: int):
        super().__init__()
        self.levels = levels
        self.register_buffer("level", torch.tensor(levels - 1))
        self.register_buffer("fade", torch.tensor(1.0))

    def stand(self, level: int, fade: float) -> None:
        """Take a level, and a share of its newest blocks."""
        self.level.fill_(level)
        self.fade.fill_(fade)

    @abstractmethod
    def parts(self, level: int) -> Sequence[nn.Module]:
        """What this resolution brought."""

    def newest(self) -> tuple[int, float]:
        """The level, and the share of its blocks; the first one is there at once."""
        level = int(self.level)
        return level, float(self.fade) if level else 1.0
