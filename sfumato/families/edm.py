"""EDM (Karras et al., 2022): every level of noise, networks whose inputs and outputs have variance 1, Heun's method."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from sfumato.families.abilities import Denoises, Likelihood
from sfumato.families.diffusion import Diffusion, DiffusionConfig
from sfumato.families.predictions import Preconditioned, Prediction
from sfumato.families.time_laws import LogNormal, TimeLaw
from sfumato.kinds import choice
from sfumato.samplers.base import Sampler
from sfumato.samplers.continuous import Edm
from sfumato.samplers.heun import Heun
from sfumato.samplers.schedules import Schedule
from sfumato.samplers.spacings import Karras


class EDM(Diffusion, Denoises, Likelihood):
    """E |F - net(x_t / c, t)|^2, x_0-hat = c_skip x_t + c_out F, log sigma ~ N(-1.2, 1.2^2), x_t = x_0 + sigma eps.

    The time that the network hears is (sigma / 80)^(1/7); the paper's is log(sigma) / 4.
    Reference: Karras et al. (2022), Elucidating the design space of diffusion-based generative models.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = EDM(EDM.Config(width=8), DataSpec(channels=1, size=(8, 12)))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 12)
    """

    class Config(DiffusionConfig):
        kind: Literal["edm"] = "edm"
        schedule: Annotated[Any, choice(Schedule, "edm")] = Edm.Config()
        """How noise rises with time; the paper's, or another."""
        prediction: Annotated[Any, choice(Prediction, "preconditioned")] = Preconditioned.Config()
        """What the network says: what is left of the clean image, at variance 1."""
        times: Annotated[Any, choice(TimeLaw, "log_normal")] = LogNormal.Config()
        """At which times it is taught."""
        sampler: Annotated[Any, choice(Sampler, "heun")] = Heun.Config(steps=18, spacing=Karras.Config())
        """heun in 35 calls, or another."""
