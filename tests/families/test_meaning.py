"""Meaning: faults that leave every shape right and every loss finite. Each test fails on the fault that it is named after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from sfumato.config import load
from sfumato.data.base import Dataset, DataSpec, Source, SourceConfig, Split
from sfumato.families.base import Batch, Family
from sfumato.families.ddpm import DDPM
from sfumato.families.regression import Regression
from sfumato.families.wgan import WGAN
from sfumato.kinds import discover, kinds_of, parse
from sfumato.networks.condition import Condition
from sfumato.networks.layers import Attention
from sfumato.restorers.base import Restorer
from sfumato.streams import stream
from sfumato.studies import runner
from sfumato.studies.results import read_lines
from sfumato.studies.study import Study
from sfumato.tasks.generation import Generation
from sfumato.tasks.inpainting import Inpainting
from sfumato.training.budget import Budget
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer

SPEC = DataSpec(channels=1, size=8, condition=2, classes=3)
FREE = DataSpec(channels=1, size=8, classes=3)


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=stream(seed, "meaning"))


def batch(family: Family, x: Tensor, label: Tensor | None = None) -> Batch:
    task = Inpainting(Inpainting.Config(mask="centre")) if family.spec.condition else Generation(Generation.Config())
    observation = task.observe(x, stream(0, "mask"))
    return Batch(x, observation, family.condition(observation, label), stream(0, "loss"))


class Level(nn.Module):
    """A generator of one colour."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(-0.5))

    def forward(self, z: Tensor, condition: Condition) -> Tensor:
        return self.level.expand(len(z), 1, 8, 8)


class Slope(nn.Module):
    """A critic that multiplies the brightness by one number."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        return self.slope * x.mean(dim=(1, 2, 3))


def one_parameter_wgan() -> WGAN:
    family = make_family(WGAN.Config(width=4, lipschitz="clip", reconstruction=0.0), FREE, 0)
    assert isinstance(family, WGAN)
    family.generator, family.critic = Level(), Slope()
    return family


def test_the_critic_rates_real_images_higher() -> None:
    family, x = one_parameter_wgan(), torch.full((4, 1, 8, 8), 0.5)
    loss = torch.stack(list(family.critic_loss(batch(family, x)).values())).sum()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.5 * (-0.5 - 0.5))  # -(E C(real) - E C(made))
    assert float(family.critic.slope.grad) == pytest.approx(-1.0), "going down must widen the gap, real above made"


def test_the_generator_goes_where_the_critic_rates_higher() -> None:
    family, x = one_parameter_wgan(), torch.full((4, 1, 8, 8), 0.5)
    torch.stack(list(family.generator_loss(batch(family, x)).values())).sum().backward()
    assert float(family.generator.level.grad) == pytest.approx(-0.5), "going down the loss must raise the score"


def test_both_networks_of_a_wgan_see_the_condition() -> None:
    family = make_family(WGAN.Config(width=4), SPEC, 0)
    x, z = numbers(0, 2, 1, 8, 8), numbers(1, 2, 64)
    one, two = (Condition(numbers(seed, 2, 2, 8, 8)) for seed in (2, 3))
    with torch.no_grad():
        assert not torch.allclose(family.decode(z, one), family.decode(z, two))
        assert not torch.allclose(family.score(x, one), family.score(x, two))


def awake(network: nn.Module) -> nn.Module:
    """Layers that start at zero hide what a network hears; give them numbers."""
    with torch.no_grad():
        for i, weight in enumerate(network.parameters()):
            if not weight.any():
                weight.copy_(0.1 * numbers(i, *weight.shape))
    return network


@pytest.mark.parametrize("network", ["unet", "published"])
def test_a_denoiser_hears_the_time_and_the_condition(network: str) -> None:
    family = make_family(DDPM.Config(width=8, network=network), SPEC, 0).eval()
    net, x = awake(family.network), numbers(0, 2, 1, 8, 8)
    one, two = (Condition(numbers(seed, 2, 2, 8, 8)) for seed in (1, 2))
    early, late = torch.full((2,), 0.1), torch.full((2,), 0.9)
    with torch.no_grad():
        base = net(x, early, one)
        assert not torch.allclose(base, net(x, late, one), atol=1e-4), "told no time"
        assert not torch.allclose(base, net(x, early, two), atol=1e-4), "told no condition"


@pytest.mark.parametrize("kind", [DDPM, WGAN, Regression])
def test_networks_hear_labels(kind: Any) -> None:
    config = kind.Config(width=8, labels=True, **({"label_dropout": 0.0} if kind is DDPM else {}))
    family = awake(make_family(config, FREE, 0)).eval()
    zero, two = (family.sample(3, label=label, rng=stream(0, "s")) for label in (0, 2))
    assert not torch.allclose(zero, two, atol=1e-4)


def test_the_critic_hears_labels() -> None:
    family = awake(make_family(WGAN.Config(width=8, labels=True), FREE, 0))
    x = numbers(0, 2, 1, 8, 8)
    with torch.no_grad():
        scores = [family.score(x, Condition(label=torch.full((2,), label))) for label in (0, 1)]
    assert not torch.allclose(*scores)


def test_some_labels_are_taken_away_in_training_and_none_without_dropout() -> None:
    x, label = numbers(0, 600, 1, 8, 8), torch.arange(600) % 3
    for dropout, low, high in ((0.0, 0, 0), (0.25, 0.18, 0.32), (1.0, 1, 1)):
        family = make_family(DDPM.Config(width=4, labels=True, label_dropout=dropout), FREE, 0)
        told = family.forgetful(batch(family, x, label)).label
        lost = told == 3
        assert low <= float(lost.float().mean()) <= high
        assert torch.equal(told[~lost], label[~lost])


def test_attention_is_its_formula() -> None:
    """softmax(q k^T / sqrt(d)) v by hand, head by head; q, k, k or a missing root fail."""
    layer = awake(Attention(64)).double()
    x = numbers(0, 2, 64, 3, 5).double()
    rows = layer.qkv(layer.norm(x)).flatten(2).transpose(1, 2)  # B, pixels, 3 C
    q, k, v = (part.unflatten(2, (layer.heads, -1)).transpose(1, 2) for part in rows.chunk(3, dim=2))
    scores = torch.einsum("bhid,bhjd->bhij", q, k) / (64 / layer.heads) ** 0.5
    mixed = torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v).transpose(1, 2).flatten(2)
    expected = x + layer.proj(mixed.transpose(1, 2).unflatten(2, (3, 5)))
    torch.testing.assert_close(layer(x), expected)
    assert layer.heads == 2


@pytest.fixture
def coloured() -> Iterator[None]:
    """A source whose parts have each one colour."""
    before = [(root, dict(discover(root))) for root in (Source, Restorer)]

    class Coloured(Source):
        class Config(SourceConfig):
            kind: Literal["coloured"] = "coloured"

        def read(self) -> Dataset:
            parts = [Split(torch.full((64, 1, 8, 8), level, dtype=torch.uint8)) for level in (40, 128, 220)]
            return Dataset("coloured", *parts)

    yield
    for root, kinds in before:
        kinds_of(root).clear()
        kinds_of(root).update(kinds)


def test_a_study_trains_on_training_images_and_measures_on_test_images(coloured: None, tmp_path: Any) -> None:
    study = load(
        Study,
        {
            "title": "t",
            "data": "coloured",
            "tasks": [{"kind": "generation"}],
            "budget": {"images": 1600, "batch": 16, "average": "none"},
            "methods": [{"name": "R", "family": {"kind": "regression", "width": 4, "optimizer": {"lr": 0.02}}}],
            "metrics": [{"kind": "frechet", "features": "lite0"}],
        },
    )
    runner.run(study, tmp_path, device="cpu")
    (result,) = read_lines(tmp_path / "results.jsonl")
    assert result.status == "ok"
    from sfumato.images import read_picture

    made = read_picture(next((tmp_path / "pictures").glob("r--*.png")), 1).float()
    true = read_picture(tmp_path / "pictures" / "true.png", 1).float()
    assert float(true.median()) == 220 and abs(float(made.median()) - 40) < 30, "it has learnt another part's colour"


def test_regression_learns_the_median_or_the_mean() -> None:
    """Of pixels that are 0 in three images and 200 in one, the median is 0 and the mean 50."""
    images = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
    images[::4] = 200
    for loss, low, high in (("absolute", -0.01, 12), ("squared", 42, 58)):
        family = make_family(Regression.Config(width=4, loss=loss, optimizer={"lr": 0.02}), FREE, 0)
        task = Generation(Generation.Config())
        Trainer(family, task, Budget(images=12_800, batch=64), seed=0).run(Split(images))
        level = float((family.sample(1, rng=stream(0, "s")).mean() + 1) * 127.5)
        assert low <= level <= high, (loss, level)


def test_a_noisy_observation_gives_nothing_away() -> None:
    from sfumato.tasks.denoising import Denoising

    task, x = Denoising(Denoising.Config(sigma=0.5)), numbers(0, 4, 1, 8, 8).clamp(-1, 1)
    seen = task.observe(x, stream(0, "mask"))
    assert not seen.known.any() and torch.equal(seen.project(x * 0), x * 0)
    exact = replace(seen, noise=0.0)
    assert torch.equal(exact.project(x * 0), exact.y)


@pytest.mark.parametrize("kind", ["ddpm", "edm", "flow_matching", "ncsn"])
def test_a_diffusion_learns_a_law_of_two_points(kind: str) -> None:
    """Black and white images in the ratio 3 to 1, told by labels or not."""
    images = torch.zeros(64, 1, 4, 4, dtype=torch.uint8)
    images[::4] = 255
    labels = (torch.arange(64) % 4 == 0).long()
    spec = DataSpec(channels=1, size=4, classes=2)
    settings = {"width": 8, "labels": True, "label_dropout": 0.4, "optimizer": {"kind": "adamw", "lr": 3e-3}}
    config = parse(Family, {"kind": kind, **settings})
    family = make_family(config, spec, 0)
    Trainer(family, Generation(Generation.Config()), Budget(images=20_000, batch=64), seed=0).run(Split(images, labels))
    bright = [(family.sample(64, label=label, rng=stream(0, "s")).mean(dim=(1, 2, 3)) > 0) for label in (0, 1, None)]
    shares = [float(part.float().mean()) for part in bright]
    assert shares[0] < 0.05 and shares[1] > 0.9 and 0.1 < shares[2] < 0.45, shares
