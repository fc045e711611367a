"""Latent diffusion: a diffusion of the codes of a trained model, which decodes what is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.families.abilities import Decodes, Encodes
from sfumato.families.base import Batch, Family, Objective, Pass, Player, Stage, Terms
from sfumato.families.diffusion import Diffusion
from sfumato.families.edm import EDM
from sfumato.images import Images, Size
from sfumato.kinds import build, choice
from sfumato.networks.condition import NOTHING, Condition
from sfumato.streams import Rngs, stream
from sfumato.tasks.base import Observation
from sfumato.tasks.operators import Nothing

SPREAD = 0.5  # of the codes that the diffusion sees, as of images


class Scale(nn.Module):
    """Mean and deviation of each channel of the codes."""

    mean: Tensor
    sd: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("sd", torch.ones(1, channels, 1, 1))


class LatentDiffusion(Family):
    """z = encode(x), a diffusion of z brought to mean 0 and deviation 0.5, x = decode(z).

    Codes that are a vector are an image of 1 x 1 with as many channels; code maps stay maps. The part `codes` is any trained
    run that encodes and decodes: a VAE, a VQ-VAE, a flow.
    Reference: Rombach et al. (2022), High-resolution image synthesis with latent diffusion models.
    """

    wants = {"codes": Decodes}

    class Config(Strict):
        kind: Literal["latent_diffusion"] = "latent_diffusion"
        inner: Annotated[Any, choice(Family, "edm")] = EDM.Config()
        """The diffusion of codes: edm, flow_matching or ddpm, with all of its settings."""
        width: float | None = Field(default=None, gt=0)
        """Channels of its widest map, in place of its own; parity solves for it."""

    def build(self) -> None:
        """The diffusion, for the shape that codes have.

        Raises: ConfigError: the part does not encode, or fits other images; the inner family is no diffusion.
        """
        codes: Any = self.codes
        if not issubclass(type(codes), Encodes) or codes.spec.condition:
            raise ConfigError(f"codes: a {codes.config.kind} that was trained on generation and encodes is needed")
        if (codes.spec.channels, codes.spec.size) != (self.spec.channels, self.spec.size):
            raise ConfigError(f"codes: it is of images of {codes.spec.channels} x {codes.spec.size}, these are others")
        with torch.no_grad():
            z = codes.latent(1, stream(0, "shape", device=codes.device))
        self.form = tuple(z.shape[1:])
        channels, *size = self.form if len(self.form) == 3 else (math.prod(self.form), 1, 1)
        own: dict[str, Any] = {"clip": False, "labels": self.spec.classes > 0 and self.config.inner.labels}
        own |= {} if self.config.width is None else {"width": self.config.width}
        settings = self.config.inner.model_copy(update=own)
        spec = DataSpec(channels=channels, size=(size[0], size[1]), classes=self.spec.classes)
        self.inner: Family = build(settings, spec)
        if not isinstance(self.inner, Diffusion):
            raise ConfigError(f"inner: a {settings.kind} is no diffusion; take edm, flow_matching or ddpm")
        self.labelled = self.inner.labelled
        self.scale = Scale(channels)

    def stages(self) -> Sequence[Stage]:
        """A look at all codes first, in the stage that trains."""
        return self.inner.stages()

    def fit(self, stage: Stage, images: Pass) -> Iterator[float]:
        """Mean and deviation of each channel of the codes."""
        n, total = 0, torch.zeros_like(self.scale.mean, dtype=torch.float64).flatten()
        square = total.clone()
        for x, _ in images.all():
            z = self.maps(x)
            n += z.numel() // z.shape[1]
            total = total + z.double().sum((0, 2, 3))
            square = square + z.double().square().sum((0, 2, 3))
            yield 0.0
        mean = total / n
        self.scale.mean.copy_(mean.view(1, -1, 1, 1))
        self.scale.sd.copy_((square / n - mean**2).clamp(min=1e-8).sqrt().view(1, -1, 1, 1))
        yield 1.0

    @torch.no_grad()
    def maps(self, x: Images) -> Float[Tensor, "B c h w"]:
        """The codes of images, as maps."""
        codes: Any = self.codes
        z = codes.encode(x, NOTHING)
        return z if z.ndim == 4 else z.flatten(1)[:, :, None, None]

    def players(self, stage: Stage) -> Sequence[Player]:
        """Those of the diffusion, on codes."""
        return [
            replace(player, objectives=[replace(one, loss=self._of_codes(one)) for one in player.objectives])
            for player in self.inner.players(stage)
        ]

    def _of_codes(self, objective: Objective) -> Any:
        def loss(batch: Batch) -> Terms:
            z = SPREAD * (self.maps(batch.x) - self.scale.mean) / self.scale.sd
            operator = Nothing(len(z), (z.shape[2], z.shape[3]), z.device)
            everywhere = Observation(z[:, :, :0, :0], operator, torch.ones_like(z[:, :1]))
            return objective.loss(replace(batch, x=z, observation=everywhere))

        return loss

    def deployed(self) -> Sequence[nn.Module]:
        """The diffusion, and what decodes."""
        codes: Any = self.codes
        return (self.scale, *self.inner.deployed(), *codes.deployed())

    def frozen(self) -> Sequence[nn.Module]:
        """What decodes."""
        codes: Any = self.codes
        return tuple(codes.deployed())

    def companions(self) -> Sequence[nn.Module]:
        """What encodes."""
        codes: Any = self.codes
        return tuple(codes.companions())

    def untold(self, n: int, rng: Rngs) -> Int[Tensor, " n"]:
        """As the diffusion has it."""
        return self.inner.untold(n, rng)

    def calls(self) -> int:
        """Those of the diffusion and one of the decoder."""
        return self.inner.calls() + 1

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """Codes, decoded."""
        codes: Any = self.codes
        z = self.inner.draw(n, Condition(label=condition.label), self.inner.spec.size, rng) / SPREAD
        z = z * self.scale.sd + self.scale.mean
        made: Images = codes.picture(z.view(n, *self.form), NOTHING)
        return made
