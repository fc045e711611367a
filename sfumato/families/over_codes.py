"""What is built over a trained run that encodes and decodes: a diffusion inside, the run beside it, which stays as it is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, final

from pydantic import Field
from torch import nn

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.families.abilities import Decodes, Encodes
from sfumato.families.base import Batch, Family, Objective, Player, Stage, Terms
from sfumato.families.diffusion import Diffusion
from sfumato.kinds import build
from sfumato.tasks.base import Observation


class OverCodesConfig(Strict):
    """What both have beside the settings of the diffusion, `inner`."""

    width: float | None = Field(default=None, gt=0)
    """Channels of the diffusion's widest map, in place of its own; parity solves for it."""


class OverCodes(Family, abstract=True):
    """A diffusion trained on batches that a trained autoencoder or flow, the part `codes`, has changed."""

    wants = {"codes": Decodes}
    lossy: ClassVar[bool] = False
    """Whether decoding has to lose something of what was encoded."""

    @classmethod
    def refuses(cls, config: Any, observation: Observation) -> str:
        """Whatever gives something."""
        return (
            "" if observation.empty else f"a {config.kind} only draws and would not see what is given; take generation"
        )

    @abstractmethod
    def changed(self, batch: Batch) -> Batch:
        """What the diffusion is trained on."""

    @final
    def diffusion(self, spec: DataSpec, **own: Any) -> Family:
        """The diffusion, for images of this spec and with some settings of its own.

        Raises: ConfigError: the part does not encode, or fits other images; the inner family is no diffusion.
        """
        config: Any = self.config
        own |= {} if config.width is None else {"width": config.width}
        made: Family = build(config.inner.model_copy(update=own), spec)
        if not isinstance(made, Diffusion):
            raise ConfigError(f"inner: a {config.inner.kind} is no diffusion; take ddpm, edm or flow_matching")
        if build(made.config.network).masks_only:
            raise ConfigError(f"inner: a {config.inner.kind} sees known pixels alone; take ddpm, edm or flow_matching")
        return made

    @final
    def encoder(self) -> Any:
        """The part `codes`.

        Raises: ConfigError: it does not encode, or fits other images.
        """
        codes: Any = self.codes
        if not issubclass(type(codes), Encodes) or codes.spec.condition or (self.lossy and codes.lossless):
            loses = " and loses something" if self.lossy else ""
            raise ConfigError(
                f"codes: one that was trained on generation and encodes{loses} is needed; got a {codes.config.kind}"
            )
        if codes.labelled:
            raise ConfigError("codes: it hears classes, which are not told to what encodes; train one without labels")
        if (codes.spec.channels, codes.spec.size) != (self.spec.channels, self.spec.size):
            raise ConfigError(f"codes: it is of images of {codes.spec.channels} x {codes.spec.size}, these are others")
        return codes

    def stages(self) -> Sequence[Stage]:
        """Those of the diffusion."""
        inner: Any = self.inner
        stages: Sequence[Stage] = inner.stages()
        return stages

    @final
    def players(self, stage: Stage) -> Sequence[Player]:
        """Those of the diffusion, on changed batches."""
        inner: Any = self.inner
        return [
            replace(player, objectives=[replace(one, loss=self._of_changed(one)) for one in player.objectives])
            for player in inner.players(stage)
        ]

    def _of_changed(self, objective: Objective) -> Any:
        def loss(batch: Batch) -> Terms:
            return objective.loss(self.changed(batch))

        return loss

    def deployed(self) -> Sequence[nn.Module]:
        """The diffusion, and what decodes."""
        inner: Any = self.inner
        return (*inner.deployed(), *self.frozen())

    @final
    def frozen(self) -> Sequence[nn.Module]:
        """What decodes."""
        codes: Any = self.codes
        return tuple(codes.deployed())

    @final
    def companions(self) -> Sequence[nn.Module]:
        """What encodes."""
        codes: Any = self.codes
        return tuple(codes.companions())

    @final
    def calls(self) -> int:
        """Those of the diffusion and of the part."""
        inner: Any = self.inner
        codes: Any = self.codes
        return int(inner.calls() + codes.calls())
