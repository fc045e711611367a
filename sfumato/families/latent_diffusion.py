"""Latent diffusion: a diffusion of the codes of a trained model, which decodes what is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfumato.data.base import DataSpec
from sfumato.families.base import Batch, Family, Pass, Stage
from sfumato.families.denoisers import Modern, Vectors
from sfumato.families.edm import EDM
from sfumato.families.over_codes import OverCodes, OverCodesConfig
from sfumato.images import Images, Size
from sfumato.kinds import choice
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


class LatentDiffusion(OverCodes):
    """z = encode(x), a diffusion of z brought to mean 0 and deviation 0.5, x = decode(z).

    Codes that are a vector are an image of 1 x 1 with as many channels, and are denoised by an mlp unless another network was
    chosen; code maps stay maps, a flow's parts are laid out as
    some. The part `codes` is any trained
    run that encodes and decodes: a VAE, a VQ-VAE, a flow.
    Reference: Rombach et al. (2022), High-resolution image synthesis with latent diffusion models.
    """

    class Config(OverCodesConfig):
        kind: Literal["latent_diffusion"] = "latent_diffusion"
        inner: Annotated[Any, choice(Family, "edm")] = EDM.Config()
        """The diffusion of codes: edm, flow_matching or ddpm, with all of its settings."""

    def build(self) -> None:
        """The diffusion, for the shape that codes have."""
        codes = self.encoder()
        with torch.no_grad():
            z = codes.latent(1, stream(0, "shape", device=codes.device))
        self.like = z
        _, channels, *size = codes.mapped(z).shape
        spec = DataSpec.model_construct(  # codes may have more channels than pictures
            channels=channels, size=(size[0], size[1]), classes=self.spec.classes, condition=0
        )
        chosen = getattr(self.config.inner, "network", None)
        vector = {"network": Vectors.Config()} if size == [1, 1] and chosen == Modern.Config() else {}
        self.inner = self.diffusion(spec, clip=False, **vector)
        self.labelled = self.inner.labelled
        self.scale = Scale(channels)

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
        z: Tensor = codes.mapped(codes.encode(x, NOTHING))
        return z

    def changed(self, batch: Batch) -> Batch:
        """Codes in the place of images; a loss looks at all of them."""
        z = SPREAD * (self.maps(batch.x) - self.scale.mean) / self.scale.sd
        operator = Nothing(len(z), (z.shape[2], z.shape[3]), z.device)
        everywhere = Observation(z[:, :, :0, :0], operator, torch.ones_like(z[:, :1]))
        return replace(batch, x=z, observation=everywhere)

    def deployed(self) -> Sequence[nn.Module]:
        """The scale of the codes, the diffusion, and what decodes."""
        return (self.scale, *super().deployed())

    def untold(self, n: int, rng: Rngs) -> Int[Tensor, " n"]:
        """As the diffusion has it."""
        return self.inner.untold(n, rng)

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """Codes, decoded."""
        codes: Any = self.codes
        z = self.inner.draw(n, Condition(label=condition.label), self.inner.spec.size, rng) / SPREAD
        z = z * self.scale.sd + self.scale.mean
        made: Images = codes.picture(codes.unmapped(z, self.like), NOTHING)
        return made
