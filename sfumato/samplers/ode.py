"""The flow of probability: the density of images that a denoiser's ordinary differential equation carries to noise."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.images import LEVEL, Images
from sfumato.maths.diffusion import eps_from_x_0
from sfumato.samplers.base import full
from sfumato.samplers.denoiser import Denoiser
from sfumato.samplers.spacings import Karras
from sfumato.streams import Rngs, uniforms

STEPS = 50
LEAST = LEVEL / 8  # noise that an image is taken to have already: an eighth of a level


def ode_log_prob(
    denoiser: Denoiser, x: Images, rng: Rngs, steps: int = STEPS, probes: int = 1
) -> Float64[Tensor, " B"]:
    """log p(x) = log N(x_1; 0, spread^2) + integral of div(dx / dt), dx = x_0-hat d alpha + eps-hat d sigma, by Heun's method.

    The divergence is estimated by random signs e, e^T (d / dx)(e^T dx / dt), without bias; more probes lower its noise.
    Reference: Song et al. (2021), Score-based generative modeling through stochastic differential equations, section 4.3;
    Hutchinson (1990), A stochastic estimator of the trace of the influence matrix.
    """
    schedule = denoiser.schedule
    times = Karras(Karras.Config(least=LEAST, most=1e4)).times(schedule, steps)[-2::-1]  # rising, without 0
    signs = [2.0 * (uniforms(rng, *x.shape) < 0.5).to(x.dtype) - 1 for _ in range(probes)]
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    a = schedule.at(times[0])[0]
    x = a * x  # the image at the first time, where it has that little noise already
    total = total + x[0].numel() * math.log(a)

    def looked(x: Images, t: float) -> tuple[Images, Images, Tensor, Tensor]:
        """x_0-hat, eps-hat, and the divergences of both."""
        alpha, sigma = schedule.at(t)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            x_0 = denoiser(x, full(t, x)).mean
            slopes = [torch.autograd.grad((x_0 * e).sum(), x, retain_graph=True)[0] * e for e in signs]
        divergence = torch.stack(slopes).mean(0).flatten(1).sum(1).double()
        x, x_0 = x.detach(), x_0.detach()
        return x_0, eps_from_x_0(x, x_0, alpha, sigma), divergence, (x[0].numel() - alpha * divergence) / sigma

    for t, u in zip(times, times[1:], strict=False):
        (alpha_t, sigma_t), (alpha_u, sigma_u) = schedule.at(t), schedule.at(u)
        first = looked(x, t)
        ahead = x + (alpha_u - alpha_t) * first[0] + (sigma_u - sigma_t) * first[1]
        second = looked(ahead, u)
        x_0, eps, d_x, d_eps = ((one + other) / 2 for one, other in zip(first, second, strict=True))
        x = x + (alpha_u - alpha_t) * x_0 + (sigma_u - sigma_t) * eps
        total = total + (alpha_u - alpha_t) * d_x + (sigma_u - sigma_t) * d_eps
    spread = schedule.spread
    d = x[0].numel()
    squares = x.double().square().flatten(1).sum(1)
    return total - 0.5 * squares / spread**2 - 0.5 * d * math.log(2 * math.pi * spread**2)
