"""DDPM (Ho, Jain and Abbeel, 2020): denoising diffusion on a grid of T levels of noise."""

from __future__ import annotations

from typing import Literal

from sfumato.families.abilities import Denoises, Likelihood
from sfumato.families.diffusion import Diffusion, DiffusionConfig


class DDPM(Diffusion, Denoises, Likelihood):
    """E |target - net(alpha(t) x_0 + sigma(t) eps, t, condition)|^2 over the pixels the task names.

    The paper has prediction = "eps", schedule = "linear" and sampler = "ancestral"; the defaults are Improved DDPM's cosine
    schedule, the clean image and DDIM, which are ahead at small budgets.
    Reference: Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = DDPM(DDPM.Config(width=8), DataSpec(channels=1, size=(8, 12)))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 12)
    """

    class Config(DiffusionConfig):
        kind: Literal["ddpm"] = "ddpm"
