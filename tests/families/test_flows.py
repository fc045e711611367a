"""Flows: volumes, inverses, and densities against laws that are known; blocks against normflows."""

from __future__ import annotations

import math
from typing import Any

import normflows
import numpy as np
import pytest
import torch
from normflows.flows.affine.glow import GlowBlock
from scipy.stats import logistic, norm
from torch import Tensor, nn

from sfumato.data.base import DataSpec, Split
from sfumato.errors import ConfigError
from sfumato.families.base import Family
from sfumato.families.dequantisation import GaussianNoise, Uniform, Variational
from sfumato.families.flow import Flow
from sfumato.families.nice import NICE
from sfumato.families.simple_laws import Logistic, Normal
from sfumato.images import LEVEL, to_float
from sfumato.kinds import parse
from sfumato.metrics.bits_per_dimension import BitsPerDimension
from sfumato.networks.condition import NOTHING, Condition
from sfumato.networks.couplings import Checkerboard, Conditioner, Halves, plain
from sfumato.networks.invertible import ActNorm, Logit, Mixing, Rescale, Rows, Squeeze
from sfumato.networks.multi_scale import Level, MultiScale
from sfumato.networks.transformations import Affine, LogisticMixture
from sfumato.streams import stream
from sfumato.tasks.inpainting import Inpainting
from sfumato.training.loader import Loader
from sfumato.training.run import make_family

from .test_meaning import batch

FLOWS = ["nice", "realnvp", "glow", "flow_pp", "tarflow"]
SMALL: dict[str, dict[str, Any]] = {
    "nice": {"width": 16},
    "realnvp": {"width": 8, "blocks": 1, "couplings": 2},
    "glow": {"width": 8, "steps": 2},
    "flow_pp": {"width": 8, "blocks": 1, "couplings": 2},
    "tarflow": {"width": 16, "blocks": 2, "depth": 1},
}


def made(kind: str, condition: int = 0, channels: int = 3, **settings: Any) -> Flow:
    """A flow whose weights are no longer what they begin as, in float64."""
    spec = DataSpec(channels=channels, size=(8, 12), condition=condition, classes=3)
    family = make_family(parse(Family, {"kind": kind, "labels": True, **SMALL[kind], **settings}), spec, 0)
    assert isinstance(family, Flow)
    rng = stream(0, "weights")
    with torch.no_grad():
        for weight in family.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=rng)
    return family.double()


def images(n: int = 2, channels: int = 3) -> Tensor:
    return 1.8 * torch.rand(n, channels, 8, 12, generator=stream(0, "x")).double() - 0.9


def told(n: int, condition: int) -> Condition:
    seen = torch.randn(n, condition, 8, 12, generator=stream(0, "seen")).double() if condition else None
    return Condition(seen, torch.arange(n) % 3)


@pytest.mark.parametrize("condition", [0, 4])
@pytest.mark.parametrize("kind", FLOWS)
def test_inverse_and_volume(kind: str, condition: int) -> None:
    family, x, condition_ = made(kind, condition), images(), told(2, condition)
    with torch.no_grad():
        z = family.encode(x, condition_)
        assert z.shape == (2, 288)
        torch.testing.assert_close(family.decode(z, condition_), x, atol=1e-7, rtol=0)
    one, first = x[:1], condition_.pick(slice(0, 1))
    slope = torch.autograd.functional.jacobian(lambda v: family.encode(v.view(one.shape), first)[0], one.flatten())
    log_det = family.transform(one, first)[1]
    assert float(log_det.detach()) == pytest.approx(float(torch.linalg.slogdet(slope)[1]), abs=1e-5)


@pytest.mark.parametrize("kind", FLOWS)
def test_float32_comes_back(kind: str) -> None:
    family, x = made(kind).float(), images(4).float()
    with torch.no_grad():
        again = family.decode(family.encode(x, told(4, 0)), told(4, 0))
    torch.testing.assert_close(again, x, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", FLOWS)
def test_decoding_has_a_slope(kind: str) -> None:
    """The gradient of an inverse is that of the map, inverted: what a latent search goes by."""
    family, x, label = made(kind), images(1), told(1, 0)
    z = family.encode(x, label).detach().requires_grad_()
    direction = torch.randn(1, 288, generator=stream(0, "d")).double()
    (slope,) = torch.autograd.grad((family.decode(z, label).flatten(1) * direction).sum(), z)
    forward = torch.autograd.functional.jacobian(lambda v: family.encode(v.view(x.shape), label)[0], x.flatten())
    torch.testing.assert_close(slope @ forward, direction, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", FLOWS)
def test_class_and_observation_are_heard(kind: str) -> None:
    family, x = made(kind, 4), images(1)
    one, other = told(1, 4), Condition(told(1, 4).image, torch.tensor([2]))
    seen = Condition(-told(1, 4).image, one.label)  # type: ignore[operator]
    with torch.no_grad():
        z = family.encode(x, one)
        assert not torch.allclose(z, family.encode(x, other)) and not torch.allclose(z, family.encode(x, seen))


def test_an_identity_scores_eight_bits_on_uniform_bytes() -> None:
    class Even:
        def log_prob(self, z: Tensor) -> Tensor:
            return z.new_full((len(z),), -z.shape[1] * math.log(256 * LEVEL))

    family = made("nice", channels=1)
    shape = 1, 8, 12
    family.transform, family.base, family.labelled = MultiScale(shape, [Level([Rows(shape)])]), Even(), False  # type: ignore
    pixels = torch.randint(0, 256, (64, *shape), generator=stream(0, "bytes"), dtype=torch.uint8)
    (score,) = BitsPerDimension(BitsPerDimension.Config()).measure_model(family, Split(pixels), seed=0, batch=32)
    assert score.value == pytest.approx(8.0, abs=1e-6) and score.card["bound"] == "exact"
    assert float(family.loss(batch(family, to_float(pixels)))["bits"]) == pytest.approx(8.0, abs=1e-5)


def points(coupling: str, base: str) -> NICE:
    """A flow of two numbers, the first of which says how the second is moved."""
    config = NICE.Config(width=48, layers=1, couplings=2, coupling={"kind": coupling}, base={"kind": base})
    family = make_family(config, DataSpec(channels=2, size=(1, 1)), 0)
    assert isinstance(family, NICE)
    return family


def taught(family: Flow, law: Any, steps: int) -> Flow:
    optimizer = torch.optim.Adam(family.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    family.transform.settle(law(2048, 0), NOTHING)
    for step in range(steps):
        loss = -family.log_density(law(2048, step), NOTHING).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return family


def test_a_bent_normal_law_to_a_thousandth_of_a_nat() -> None:
    """x_1 ~ N(0, 0.5), x_2 ~ N(sin(2 x_1) / 2, 0.2): affine couplings can say it exactly."""

    def law(n: int, number: int) -> Tensor:
        a, b = torch.randn(2, n, generator=stream(1, "law", number))
        return torch.stack([0.5 * a, torch.sin(a) / 2 + 0.2 * b], 1)[..., None, None]

    family, x = taught(points("affine", "normal"), law, 700), law(200_000, 10**6)
    a, b = x.flatten(1).double().numpy().T
    true = norm.logpdf(a, 0, 0.5) + norm.logpdf(b, np.sin(2 * a) / 2, 0.2)
    with torch.no_grad():
        found = family.log_density(x, NOTHING).double().numpy()
    assert abs((true - found).mean()) < 1e-3
    drawn = family.latent(20_000, stream(0, "z"))
    made_ = family.decode(drawn, NOTHING).detach().flatten(1)
    assert float(made_[:, 0].std()) == pytest.approx(0.5, rel=0.02)
    assert float((made_[:, 1] - torch.sin(2 * made_[:, 0]) / 2).std()) == pytest.approx(0.2, rel=0.04)


def test_a_law_of_two_hills_to_a_thousandth_of_a_nat() -> None:
    """Mixtures of logistic laws, one for each sign of x_1: what a mixture coupling can say exactly."""

    def law(n: int, number: int) -> Tensor:
        u = torch.rand(3, n, generator=stream(2, "law", number)).clamp(1e-6, 1 - 1e-6)
        hill = torch.where(u[2] < 0.3, -1.0, 0.8)
        return torch.stack([u[0].logit() * 0.2, hill + 0.1 * u[1].logit()], 1)[..., None, None]

    family, x = taught(points("logistic_mixture", "logistic"), law, 600), law(200_000, 10**6)
    a, b = x.flatten(1).double().numpy().T
    hills = 0.3 * logistic.pdf(b, -1.0, 0.1) + 0.7 * logistic.pdf(b, 0.8, 0.1)
    with torch.no_grad():
        found = family.log_density(x, NOTHING).double().numpy()
    assert abs((logistic.logpdf(a, 0, 0.2) + np.log(hills) - found).mean()) < 1e-3


@pytest.mark.parametrize("base", [Normal(Normal.Config()), Logistic(Logistic.Config())])
def test_bases_against_scipy(base: Any) -> None:
    z, law = base.draw(20_000, 3, stream(0, "z")), norm if isinstance(base, Normal) else logistic
    np.testing.assert_allclose(base.log_prob(z).numpy(), law.logpdf(z.numpy()).sum(1), rtol=1e-4, atol=1e-4)
    assert float(z.std()) == pytest.approx(law.std(), rel=0.02)


def test_a_mixture_coupling_against_scipy_far_out() -> None:
    mixture = LogisticMixture(LogisticMixture.Config(components=3))
    said = torch.randn(1, 11, 1, 400, generator=stream(0, "said")).double()
    x = torch.linspace(-60, 60, 400).double().view(1, 1, 1, 400)
    y, each = mixture.forward(x, said)
    weights, means, scales = (
        said[0, 2:5, 0].softmax(0),
        said[0, 5:8, 0] + torch.tensor([[-1.0], [0], [1]]),
        said[0, 8:, 0],
    )
    low = (weights * torch.tensor(logistic.cdf(x[0, 0], means, scales.exp()))).sum(0)
    high = (weights * torch.tensor(logistic.sf(x[0, 0], means, scales.exp()))).sum(0)
    s = 2 * torch.tanh(said[0, 0, 0] / 2)
    torch.testing.assert_close(y[0, 0, 0], s.exp() * (low.log() - high.log()) + said[0, 1, 0], rtol=1e-8, atol=1e-8)
    slope = torch.autograd.functional.jacobian(lambda v: mixture.forward(v, said)[0].sum(), x)
    torch.testing.assert_close(each, slope.log(), rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(mixture.inverse(y, said), x, rtol=1e-8, atol=1e-8)


def test_a_step_of_glow_is_normflows() -> None:
    theirs = GlowBlock(6, 5, scale_map="exp", init_zeros=False, use_lu=False).double()
    coupling, mixing, actnorm = theirs.flows
    with torch.no_grad():
        actnorm.s.normal_(0, 0.3)
        actnorm.t.normal_()
        actnorm.data_dep_init_done.fill_(1.0)
    ours = Halves(6, Affine(Affine.Config(bound=1e6)), lambda i, o: Conditioner(i, o, 5, plain)).double()
    first, second, last = (layer for layer in coupling.flows[1].param_map.net if isinstance(layer, nn.Conv2d))
    order = torch.tensor([1, 3, 5, 0, 2, 4])  # theirs says shift and scale in turns, ours all scales first
    network: Any = ours.network
    for mine, other in ((network.enter, first), (network.middle[1], second)):
        mine.load_state_dict(other.state_dict())
    network.exit.load_state_dict({"weight": last.weight[order], "bias": last.bias[order]})
    mix, norm_ = Mixing(6).double(), ActNorm(6).double()
    with torch.no_grad():
        mix.weight.copy_(torch.linalg.inv(mixing.W))
        norm_.log_scale.copy_(actnorm.s[0])
        norm_.bias.copy_((actnorm.t / actnorm.s.exp())[0])
        x = torch.randn(3, 6, 4, 5).double()
        y, log_det = x, torch.zeros(3).double()
        for layer in (ours, mix, norm_):
            y, change = layer(y, NOTHING)
            log_det = log_det + change
        expected, theirs_det = theirs(x)
    torch.testing.assert_close(y, expected, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(log_det, theirs_det, atol=1e-6, rtol=0)
    squeezed = normflows.flows.reshape.Squeeze().inverse(x[:, :, :, :4])[0]
    torch.testing.assert_close(Squeeze()(x[:, :, :, :4], NOTHING)[0], squeezed)


def test_images_are_taken_to_all_numbers_and_back() -> None:
    x = torch.linspace(-1 - LEVEL / 2, 1 + LEVEL / 2, 50).double().view(1, 1, 5, 10)
    y = x
    for layer in (Rescale(1 + LEVEL / 2, 1 / (256 * LEVEL)), Logit(0.05)):
        y = layer(y, NOTHING)[0]
    shares = (x.numpy() + 1 + LEVEL / 2) / (256 * LEVEL)
    np.testing.assert_allclose(y.numpy(), logistic.ppf(0.05 + 0.9 * shares), atol=1e-6)


@pytest.mark.parametrize("kind", ["realnvp", "glow"])
def test_what_is_set_from_images_is_normal(kind: str) -> None:
    spec = DataSpec(channels=3, size=(8, 12))
    family = make_family(parse(Family, {"kind": kind, **SMALL[kind]}), spec, 0)
    assert isinstance(family, Flow)
    pixels = torch.randint(0, 80, (256, 3, 8, 12), generator=stream(0, "p"), dtype=torch.uint8)
    seen: list[Tensor] = []
    for _ in family.fit(family.stages()[0], Loader(Split(pixels), 64)):
        pass
    for layer in family.modules():
        if isinstance(layer, ActNorm):
            layer.register_forward_hook(lambda module, told, out: seen.append(out[0]))
    with torch.no_grad():
        family.encode(to_float(pixels) + LEVEL * (torch.rand(pixels.shape, generator=stream(0, "u")) - 0.5), NOTHING)
    assert len(seen) > 3
    for y in seen:
        torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(y.shape[1]), atol=0.05, rtol=0)
        torch.testing.assert_close(y.std((0, 2, 3)), torch.ones(y.shape[1]), atol=0.05, rtol=0)


def test_learnt_noise_is_a_law_within_the_bins() -> None:
    """E_q[1 / q(u)] over a box is its volume, whatever the weights are."""
    noise = Variational(Variational.Config(couplings=2))
    noise.connect(1, 16)
    with torch.no_grad():
        for weight in noise.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=stream(0, "weights", *weight.shape))
        x = (torch.randint(0, 256, (1, 1, 1, 2), generator=stream(0, "x")) * LEVEL - 1).expand(200_000, -1, -1, -1)
        y, rest = noise.spread(x, stream(0, "eps"))
        assert float((y - x).abs().max()) <= LEVEL / 2 and float((y - x).std()) > 0.1 * LEVEL
        inside = (((y - x) / LEVEL).abs() < 0.4).flatten(1).all(1)  # near the edges 1 / q has no end
        assert float((rest.exp() * inside).mean()) == pytest.approx(0.8**2, rel=0.01)
        assert float(rest.std()) > 0.05, "weights that say something"


def test_wide_noise_gives_all_levels_odds_that_sum_to_one() -> None:
    """P(x) = E_q[p(y) P(x | y) / q(y | x)], of which the bound is the mean of the logarithm."""
    noise, sigma, law = GaussianNoise(GaussianNoise.Config(sigma=0.2)), 0.2, 1.0
    levels = (torch.arange(256) * LEVEL - 1).double().view(256, 1, 1, 1)
    total = torch.zeros(256).double()
    for i in range(200):
        y, rest = noise.spread(levels, stream(0, "noise", i))
        # p(y): a law of levels alone, spread like them, so that the levels' odds come out again
        odds = torch.softmax(-0.5 * (levels.flatten() / law) ** 2, 0)
        p = (odds * torch.tensor(norm.pdf(y.flatten()[:, None], levels.flatten()[None], sigma))).sum(1)
        total += (p.log() + rest).exp() * LEVEL / 200
    assert float(total.sum()) == pytest.approx(1.0, abs=0.01)


def test_noise_is_taken_away_as_it_should() -> None:
    noise, s = GaussianNoise(GaussianNoise.Config(sigma=0.3)), 0.5
    y = torch.randn(5, 1, 2, 2, generator=stream(0, "y"))
    clean = noise.cleaned(y, lambda y: -0.5 * y.square().flatten(1).sum(1) / (s**2 + 0.3**2))
    torch.testing.assert_close(clean, y * s**2 / (s**2 + 0.3**2))
    plain_ = Uniform(Uniform.Config())
    assert torch.equal(plain_.cleaned(y, lambda y: y.flatten(1).sum(1)), y)


def test_what_is_given_is_not_learnt_and_comes_back() -> None:
    family, x = made("glow", 4, labels=False).float(), images(3).float()
    task = Inpainting(Inpainting.Config(mask="centre"))
    observation = task.observe(x, stream(0, "mask"))
    other = torch.where(observation.weight > 0, x, 0.5)
    assert not torch.equal(x, other)
    losses = [float(family.loss(b)["bits"].detach()) for b in (batch(family, x), batch(family, x))]
    assert losses[0] == losses[1]
    changed = batch(family, x)
    object.__setattr__(changed, "x", other)
    assert float(family.loss(changed)["bits"].detach()) == losses[0]
    drawn = family.sample(3, observation=observation, rng=stream(0, "draw"))
    known = observation.weight.expand_as(x) == 0
    assert torch.equal(drawn[known], x[known])


def test_temperature_shrinks_all_latent_numbers() -> None:
    warm, cold = (made("glow", temperature=t).latent(4, stream(0, "z")) for t in (1.0, 0.7))
    torch.testing.assert_close(0.7 * warm, cold)


def test_images_that_do_not_fit() -> None:
    for kind, size, words in (("glow", (7, 8), "both sides even"), ("tarflow", (8, 6), "two or more patches")):
        with pytest.raises(ConfigError, match=words):
            make_family(parse(Family, kind), DataSpec(channels=1, size=size), 0)
    with pytest.raises(ConfigError, match="levels = 1 or more"):
        make_family(parse(Family, {"kind": "realnvp", "levels": 0}), DataSpec(channels=1, size=(8, 8)), 0)
    with pytest.raises(ConfigError, match="draws images of 8 x 12"):
        made("glow").sample(1, label=0, size=(16, 16), rng=stream(0, "draw"))


@pytest.mark.parametrize("swap", [False, True])
def test_a_chessboard_comes_back(swap: bool) -> None:
    layer = Checkerboard(2, Affine(Affine.Config()), lambda a, b: Conditioner(a, b, 8, plain), swap).double()
    with torch.no_grad():
        for weight in layer.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=stream(0, "w"))
    x = torch.randn(2, 2, 4, 6, generator=stream(0, "x")).double()
    y, log_det = layer(x, NOTHING)
    torch.testing.assert_close(layer.inverse(y, NOTHING), x, atol=1e-9, rtol=0)
    slope = torch.autograd.functional.jacobian(
        lambda v: layer(v.view(1, 2, 4, 6), NOTHING)[0].flatten(), x[0].flatten()
    )
    assert float(log_det[0].detach()) == pytest.approx(float(torch.linalg.slogdet(slope)[1]), abs=1e-8)
    stays = (y == x)[0, 0]
    assert int(stays.sum()) == 12 and bool(stays[0, 1]) == swap


def test_what_was_set_once_is_not_set_again_by_other_images() -> None:
    first, other = (Split(torch.randint(low, low + 60, (64, 3, 8, 12), dtype=torch.uint8)) for low in (0, 180))
    spec = DataSpec(channels=3, size=(8, 12))
    family, again = (make_family(parse(Family, {"kind": "glow", **SMALL["glow"]}), spec, 0) for _ in range(2))
    for _ in family.fit(family.stages()[0], Loader(first, 64)):
        pass
    again.adopt(family.state_dict())
    for _ in again.fit(again.stages()[0], Loader(other, 64)):
        pass
    for name, value in family.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_picture_is_what_was_decoded_and_cleaned() -> None:
    family = made("tarflow", labels=False).float()
    z, known = family.latent(4, stream(0, "z")), NOTHING
    decoded, picture = family.decode(z, known), family.picture(z, known)
    y = decoded.detach().requires_grad_()
    (slope,) = torch.autograd.grad(family.log_density(y, known).sum(), y)
    torch.testing.assert_close(picture, decoded + 0.05**2 * slope)
    assert not torch.allclose(picture, decoded, atol=1e-3)
    drawn = family.sample(4, rng=stream(0, "z"))
    torch.testing.assert_close(drawn, picture.clamp(-1, 1))


def test_wide_noise_and_logits_rate_black_and_white() -> None:
    family = made("realnvp", labels=False, dequantisation="gaussian").float()
    for level in (-1.0, 1.0):
        nats = family.log_prob(torch.full((2, 3, 8, 12), level), NOTHING, stream(0, "noise"))
        assert bool(nats.isfinite().all())


def test_rotations_of_channels_are_not_rounded_under_autocast() -> None:
    layer, x = Mixing(8), torch.randn(2, 8, 3, 3, generator=stream(0, "x"))
    exact = layer(x, NOTHING)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x, NOTHING)[0], exact)
