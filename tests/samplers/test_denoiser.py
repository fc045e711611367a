"""What wrappers change of a denoiser's answer, against closed forms; and what DDNM's correction says."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sfumato.data.base import DataSpec
from sfumato.families.ddpm import DDPM
from sfumato.networks.condition import Condition
from sfumato.restorers.ddnm import DDNM, corrected
from sfumato.samplers.base import full
from sfumato.samplers.denoiser import Denoised, Denoiser, From, Times, clamped, classifier_free, guided, projected
from sfumato.samplers.schedules import Betas, Cosine, Schedule
from sfumato.streams import stream
from sfumato.tasks.base import Observation, Operator
from sfumato.tasks.down_sampling import BlockMean
from sfumato.tasks.operators import Identity, Masking
from sfumato.training.run import make_family

SCHEDULE = Cosine(Cosine.Config(steps=1000))
SD = 0.3  # of the images below


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=stream(seed, "denoiser"), dtype=torch.float64)


def at(t: Times, schedule: Schedule = SCHEDULE) -> tuple[Tensor, Tensor]:
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    return (alpha, sigma) if t.ndim > 1 else (alpha.view(-1, 1, 1, 1), sigma.view(-1, 1, 1, 1))


def normal(mean: float = 0.0, sd: float = SD, schedule: Schedule = SCHEDULE) -> Denoiser:
    """The exact denoiser of pixels N(mean, sd^2), by precisions; it also says its variance."""

    def call(x_t: Tensor, t: Times) -> Denoised:
        alpha, sigma = at(t, schedule)
        precision = 1 / sd**2 + alpha**2 / sigma**2
        return Denoised((mean / sd**2 + alpha * x_t / sigma**2) / precision, (1 / precision).expand(x_t.shape))

    return From(schedule, call)


def constant(value: float, variance: float = 0.0) -> Denoiser:
    return From(SCHEDULE, lambda x, t: Denoised(torch.full_like(x, value), torch.full_like(x, variance)))


X, T = numbers(0, 3, 1, 4, 4), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)


def test_clamped() -> None:
    made = clamped(From(SCHEDULE, lambda x, t: Denoised(3 * x, x)))(X, T)
    torch.testing.assert_close(made.mean, (3 * X).clamp(-1, 1))
    assert torch.equal(made.variance, X), "only the mean is clamped"


def test_classifier_free_goes_along_the_difference() -> None:
    told, untold = constant(0.5, 1.0), constant(0.1, 2.0)
    for scale, expected in ((1.0, 0.5), (0.0, 0.1), (2.0, 0.9), (0.5, 0.3), (4.0, 1.7)):
        made = classifier_free(told, untold, scale)(X, T)
        torch.testing.assert_close(made.mean, torch.full_like(X, expected))
        assert float(made.variance[0, 0, 0, 0]) == 1.0, "what else is said is that of the told network"


def test_scale_one_asks_the_told_network_alone() -> None:
    def never(x: Tensor, t: Times) -> Denoised:
        raise AssertionError("the untold network was asked")

    told, untold = normal(), From(SCHEDULE, never)
    assert torch.equal(classifier_free(told, untold, 1.0)(X, T).mean, told(X, T).mean)
    assert torch.equal(classifier_free(told, untold, 3.0, (0.9, 1.0))(X, T).mean, told(X, T).mean)


def test_an_interval_limits_guidance_by_the_time_of_each_image() -> None:
    guide = classifier_free(constant(0.5), constant(0.1), 2.0, (0.2, 0.5))
    assert guide(X, T).mean[:, 0, 0, 0].tolist() == pytest.approx([0.5, 0.9, 0.5])  # 0.2 is out, 0.5 is in
    maps = torch.full((3, 1, 4, 4), 0.9, dtype=torch.float64)
    maps[1, 0, 2:] = 0.3
    made = guide(X, maps).mean
    assert made[1, 0, :, 0].tolist() == pytest.approx([0.5, 0.5, 0.9, 0.9]) and (made[[0, 2]] == 0.5).all()


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize("schedule", [SCHEDULE, Betas(Betas.Config(betas=(0.1,) * 10))], ids=["cosine", "betas"])
def test_guidance_by_a_gaussian_class_gives_its_posterior_mean(maps: bool, schedule: Schedule) -> None:
    """x_0 ~ N(0, SD^2); p(y | x_0) is proportional to N(x_0; m, s^2): that class has again a Gaussian law."""
    m, s = 0.4, 0.25
    t = T.view(3, 1, 1, 1).expand(3, 1, 4, 4) if maps else T

    def log_p(x: Tensor, t: Times) -> Tensor:
        # p(y | x_t) = the integral of N(x_0; m, s^2) p(x_0 | x_t) = N(m; E[x_0 | x_t], s^2 + Var[x_0 | x_t])
        told = normal(schedule=schedule)(x, t)
        return -((m - told.mean).square() / (2 * (s**2 + told.variance))).flatten(1).sum(1)

    precision = 1 / SD**2 + 1 / s**2
    exact = normal(m / s**2 / precision, math.sqrt(1 / precision), schedule)(X, t).mean
    plain = normal(schedule=schedule)
    torch.testing.assert_close(guided(plain, log_p)(X, t).mean, exact)
    twice = plain(X, t).mean + 2 * (exact - plain(X, t).mean)
    torch.testing.assert_close(guided(plain, log_p, 2.0)(X, t).mean, twice)


def test_guidance_finds_its_gradient_where_gradients_are_off() -> None:
    with torch.no_grad():
        made = guided(constant(0.0), lambda x, t: x.flatten(1).sum(1))(X, T).mean
    alpha, sigma = at(T)
    torch.testing.assert_close(made, (sigma**2 / alpha).expand(X.shape))
    assert not made.requires_grad


KNOWN = (torch.rand(3, 1, 4, 4, generator=stream(0, "known")) < 0.5).double()


def seen(operator: Operator, noise: float = 0.0) -> tuple[Observation, Tensor]:
    truth = SD * numbers(1, 3, 1, 4, 4)
    y = operator.forward(truth)
    y = y + noise * numbers(2, *y.shape) if noise else y
    return Observation(y, operator, torch.ones_like(operator.known), noise), truth


def test_projected_keeps_known_pixels_and_no_others() -> None:
    observation, truth = seen(Masking(KNOWN))
    made, free = projected(normal(), observation)(X, T).mean, normal()(X, T).mean
    torch.testing.assert_close(made, torch.where(KNOWN == 1, truth, free), rtol=0, atol=1e-15)
    blocks, _ = seen(BlockMean(3, (4, 4), 2))
    torch.testing.assert_close(blocks.operator.forward(projected(normal(), blocks)(X, T).mean), blocks.y)
    noisy, _ = seen(Masking(KNOWN), 0.1)
    assert torch.equal(projected(normal(), noisy)(X, T).mean, free), "noisy pixels bind nobody"


@pytest.mark.parametrize("t", [0.1, 0.6])
def test_ddnm_s_correction_is_the_posterior_mean_of_its_prior(t: float) -> None:
    """For pixels N(0, 1) the prior N(x_0-hat, r^2) of a step is exact, and so must be E[x_0 | x_t, y]."""
    time = full(t, X)
    exact, truth = seen(Masking(KNOWN))
    made, free = corrected(normal(sd=1.0), exact, 0.5)(X, time).mean, normal(sd=1.0)(X, time).mean
    torch.testing.assert_close(made, torch.where(KNOWN == 1, truth, free), rtol=0, atol=1e-15)
    noisy, _ = seen(Masking(KNOWN), 0.2)
    alpha, sigma = SCHEDULE.at(t)
    precision = 1 + alpha**2 / sigma**2 + KNOWN / 0.2**2
    expected = (alpha * X / sigma**2 + KNOWN * noisy.y / 0.2**2) / precision
    torch.testing.assert_close(corrected(normal(sd=1.0), noisy, 0.5)(X, time).mean, expected, rtol=1e-4, atol=1e-5)


class Exact(nn.Module):
    """The denoiser of pixels N(0, SD^2) as a network; it knows the cosine by its formula and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Tensor] = []

    def forward(self, x_t: Tensor, time: Tensor, condition: Condition) -> Tensor:
        self.given.append(x_t)
        t = time.double().view(-1, 1, 1, 1)
        start = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
        alpha_bar = (((t + 0.008) / 1.008 * math.pi / 2).cos() ** 2 / start).clamp(min=0)
        return (x_t * alpha_bar.sqrt() * SD**2 / (alpha_bar * SD**2 + 1 - alpha_bar)).float()


def exact_family(size: tuple[int, int]) -> Any:
    family: Any = make_family(DDPM.Config(width=4), DataSpec(channels=1, size=size), 0)
    family.network = Exact()
    return family


def test_ddnm_fills_a_mask() -> None:
    n = 500
    known = KNOWN[:1].float().expand(n, 1, 4, 4)
    truth = (SD * numbers(3, n, 1, 4, 4)).float().clamp(-1, 1)
    observation, family = Observation(truth * known, Masking(known), torch.ones_like(known)), exact_family((4, 4))
    made = DDNM(DDNM.Config(), family).restore(observation, rng=stream(0, "s"))
    torch.testing.assert_close(made * known, truth * known, rtol=0, atol=1e-6)
    other = made[known == 0]
    assert float(other.mean()) == pytest.approx(0, abs=0.02) and float(other.std()) == pytest.approx(SD, rel=0.06)
    # Known pixels are imposed along the walk, not only at its end: x_t is near alpha y where sigma is small.
    assert len(family.network.given) == 100
    assert float(((family.network.given[-1] - truth) * known).abs().max()) < 0.05


@pytest.mark.parametrize(("noise", "tolerance"), [(0.1, 0.02), (0.3, 0.02)])
def test_ddnm_weighs_noise_against_the_prior(noise: float, tolerance: float) -> None:
    """y = 0.4 everywhere: the posterior mean is y SD^2 / (SD^2 + noise^2).

    A projection would answer 0.4. All is linear, so the mean of the walk itself is known, and is held to 0.01.
    """
    n, y = 300, 0.4
    observation = Observation(torch.full((n, 1, 4, 4), y), Identity(n, (4, 4)), torch.ones(n, 1, 4, 4), noise)
    restorer = DDNM(DDNM.Config(spread=SD), exact_family((4, 4)))
    made = float(restorer.restore(observation, rng=stream(0, "s")).mean())
    assert made == pytest.approx(y * SD**2 / (SD**2 + noise**2), abs=tolerance)
    mean, times = 0.0, restorer.sampler.times(SCHEDULE)
    for t, s in zip(times, times[1:], strict=False):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = SCHEDULE.at(t), SCHEDULE.at(s)
        x_0 = mean * alpha_t * SD**2 / (alpha_t**2 * SD**2 + sigma_t**2)
        left = (sigma_t * SD) ** 2 / ((alpha_t * SD) ** 2 + sigma_t**2)
        x_0 += (y - x_0) * left / (left + noise**2)
        share = 1 - 0.85**2 * (1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2)
        mean = alpha_s * x_0 + sigma_s * math.sqrt(share) * (mean - alpha_t * x_0) / sigma_t
    assert made == pytest.approx(mean, abs=0.01)
