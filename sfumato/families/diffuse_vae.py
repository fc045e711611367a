"""DiffuseVAE: a diffusion that refines the blurred pictures of a trained autoencoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.families.base import Batch, Family
from sfumato.families.ddpm import DDPM
from sfumato.families.over_codes import OverCodes, OverCodesConfig
from sfumato.images import Images, Size
from sfumato.kinds import choice
from sfumato.networks.condition import NOTHING, Condition
from sfumato.streams import Rngs


class DiffuseVAE(OverCodes):
    """x ~ p(x | decode(encode(x))) by a diffusion that sees the reconstruction; to draw, that of a vector of the prior.

    Reference: Pandey et al. (2022), DiffuseVAE: Efficient, controllable and high-fidelity generation from low-dimensional
    latents, formulation 1.
    """

    lossy = True

    class Config(OverCodesConfig):
        kind: Literal["diffuse_vae"] = "diffuse_vae"
        inner: Annotated[Any, choice(Family, "ddpm")] = DDPM.Config()
        """The diffusion that refines: ddpm, edm or flow_matching, with all of its settings."""

    def build(self) -> None:
        """The diffusion, beside whose image a picture is seen."""
        self.encoder()
        self.inner = self.diffusion(self.spec.model_copy(update={"condition": self.spec.channels + 1}), impose=False)
        self.labelled = self.inner.labelled

    @torch.no_grad()
    def changed(self, batch: Batch) -> Batch:
        """Images beside what the autoencoder makes of them."""
        codes: Any = self.codes
        blurred = codes.picture(codes.encode(batch.x, NOTHING), NOTHING)
        return replace(batch, condition=Condition(beside(blurred), batch.condition.label))

    def untold(self, n: int, rng: Rngs) -> Int[Tensor, " n"]:
        """As the diffusion has it."""
        return self.inner.untold(n, rng)

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """A picture of the autoencoder, refined."""
        codes: Any = self.codes
        return self.inner.draw(n, Condition(beside(codes.sample(n, rng=rng)), condition.label), size, rng)


def beside(picture: Images) -> Float[Tensor, "B d H W"]:
    """A picture as something that is seen, of which no pixel is known."""
    return torch.cat([picture, torch.zeros_like(picture[:, :1])], 1)
