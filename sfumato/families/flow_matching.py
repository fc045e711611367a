"""Flow matching: straight paths from noise to images, along whose direction a walk of few steps goes far."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from sfumato.errors import ConfigError
from sfumato.families.abilities import Denoises, Likelihood
from sfumato.families.base import Batch
from sfumato.families.diffusion import Diffusion, DiffusionConfig
from sfumato.families.predictions import Direction, Prediction
from sfumato.families.time_laws import LogitNormal, TimeLaw
from sfumato.images import Images
from sfumato.kinds import choice
from sfumato.maths.assignment import matched
from sfumato.samplers.base import Sampler
from sfumato.samplers.continuous import Rectified
from sfumato.samplers.ddim import DDIM
from sfumato.samplers.schedules import Schedule
from sfumato.samplers.spacings import Even


class FlowMatching(Diffusion, Denoises, Likelihood):
    """E |eps - x_0 - net(x_t, t)|^2, x_t = (1 - t) x_0 + t eps; images are drawn by Euler's method along -net.

    With `pairing` each batch's images and noises are matched so that all paths are short together, which bends them less.
    Reference: Lipman et al. (2023), Flow matching for generative modeling; Liu, Gong and Liu (2023), Flow straight and fast;
    Tong et al. (2024), Improving and generalizing flow-based generative models with minibatch optimal transport.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = FlowMatching(FlowMatching.Config(width=8), DataSpec(channels=1, size=(8, 12)))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 12)
    """

    class Config(DiffusionConfig):
        kind: Literal["flow_matching"] = "flow_matching"
        schedule: Annotated[Any, choice(Schedule, "rectified")] = Rectified.Config()
        """Straight paths, or others."""
        prediction: Annotated[Any, choice(Prediction, "direction")] = Direction.Config()
        """What the network says: where the path goes."""
        times: Annotated[Any, choice(TimeLaw, "logit_normal")] = LogitNormal.Config()
        """At which times it is taught."""
        sampler: Annotated[Any, choice(Sampler, "ddim")] = DDIM.Config(spacing=Even.Config())
        """ddim, which on straight paths is Euler's method; heun with along = "path" has two calls a step."""
        pairing: bool = False
        """Match the images of each batch with its noises by optimal transport; for generation without labels."""

    def build(self) -> None:
        """What every diffusion has."""
        super().build()
        if self.config.pairing and (self.spec.condition or self.labelled):
            raise ConfigError(
                "pairing = true would match images of one observation or class with noises of their own; off"
            )

    def paired(self, batch: Batch) -> Images:
        """The noise of each image: any, or the one that it is matched with."""
        eps = super().paired(batch)
        return eps[matched(batch.x.flatten(1), eps.flatten(1))] if self.config.pairing else eps
