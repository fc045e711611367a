"""NCSN (Song and Ermon, 2019): one network of the scores at many levels of noise, and Langevin dynamics down all of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from sfumato.families.abilities import Denoises, Likelihood
from sfumato.families.diffusion import Diffusion, DiffusionConfig
from sfumato.families.predictions import Eps, Prediction
from sfumato.families.weightings import Power, Weighting
from sfumato.kinds import choice
from sfumato.samplers.base import Sampler
from sfumato.samplers.continuous import Geometric
from sfumato.samplers.langevin import Langevin
from sfumato.samplers.schedules import Schedule


class NCSN(Diffusion, Denoises, Likelihood):
    """E lambda(sigma) |s(x, sigma) + eps / sigma|^2, x = x_0 + sigma eps, over a grid of levels; s = -net / sigma.

    lambda = sigma^power; with 2 all levels count alike, with 0, as an objective without lambda has it, the softest alone.
    Reference: Song and Ermon (2019), Generative modeling by estimating gradients of the data distribution; the same (2020),
    Improved techniques for training score-based generative models, for levels, s and steps.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = NCSN(NCSN.Config(width=8, schedule={"steps": 5}), DataSpec(channels=1, size=(8, 12)))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 12)
    """

    class Config(DiffusionConfig):
        kind: Literal["ncsn"] = "ncsn"
        schedule: Annotated[Any, choice(Schedule, "geometric")] = Geometric.Config()
        """The levels of noise."""
        prediction: Annotated[Any, choice(Prediction, "eps")] = Eps.Config()
        """What the network says: the noise, -sigma times the score."""
        weighting: Annotated[Any, choice(Weighting, "power")] = Power.Config()
        """lambda(sigma), or another."""
        sampler: Annotated[Any, choice(Sampler, "langevin")] = Langevin.Config()
        """langevin, predictor_corrector, or any other."""
