"""Guidance: a classifier of noisy images as a second player, and what a scale does to draws of a law that is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import sfumato
from sfumato.data.base import DataSpec
from sfumato.data.toy import Toy
from sfumato.families.base import Stage
from sfumato.families.ddpm import DDPM
from sfumato.maths.mixture import Mixture
from sfumato.networks.condition import Condition
from sfumato.samplers.denoiser import guided
from sfumato.samplers.exact import denoiser_of
from sfumato.samplers.schedules import Cosine
from sfumato.streams import stream
from sfumato.training.run import make_family, redrawn

COSINE = Cosine(Cosine.Config())
SPEC = DataSpec(channels=2, size=1, classes=8)


def family(**more: Any) -> Any:
    return make_family(DDPM.Config(width=4, labels=True, guides="classifier", **more), SPEC, 0)


def test_a_classifier_is_a_second_player_on_the_same_images_and_the_denoiser_hears_no_class() -> None:
    made = family()
    denoiser, classifier = made.players(Stage())
    assert denoiser.in_budget and not classifier.in_budget and not classifier.fresh
    assert made.network.label is None
    assert not {id(w) for w in denoiser.weights} & {id(w) for w in classifier.weights}
    assert made.deployed() == (made.network, made.classifier), "what draws is counted"
    assert family(guidance=3.0).calls() == 25, "the network is asked once a step"


def test_the_classifier_s_slope_moves_the_mean_as_bayes_says() -> None:
    """Two narrow modes: with the exact classifier and scale 1, the guided answer is that of the told mode alone."""
    weights, means = torch.tensor([0.5, 0.5]), torch.tensor([[0.5, 0.0], [-0.5, 0.2]])
    both, first = Mixture.round(weights, means, 0.1), Mixture.round(torch.ones(1), means[:1], 0.1)
    made = family(guidance=1.0)

    def log_class(label: Tensor, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = COSINE.at(float(t[0]))
        noisy = Mixture.round(weights, alpha * means, float((alpha**2 * 0.01 + sigma**2) ** 0.5))
        return noisy.log_joint(x.flatten(1))[:, 0] - noisy.log_prob(x.flatten(1))

    made.log_class = log_class
    made.denoiser = lambda condition=None: denoiser_of(both, COSINE)
    x_t = torch.randn(6, 2, 1, 1, generator=stream(0, "x")).double()
    condition = Condition(label=torch.zeros(6, dtype=torch.int64))
    for t in (0.2, 0.5, 0.8):
        time = torch.full((6,), t).double()
        told = made.guided(condition, stream(0, "g"))(x_t, time).mean
        torch.testing.assert_close(told, denoiser_of(first, COSINE)(x_t, time).mean, rtol=1e-5, atol=1e-6)
    assert made.guided(Condition(), stream(0, "g")) is not None


def test_an_interval_and_no_slope_outside() -> None:
    plain = denoiser_of(Mixture.round(torch.ones(1), torch.zeros(1, 2), 0.5), COSINE)
    seen: list[float] = []

    def log_p(x: Tensor, t: Tensor) -> Tensor:
        seen.append(float(t[0]))
        return x.flatten(1).sum(1)

    within = guided(plain, log_p, 2.0, (0.3, 0.6))
    x = torch.zeros(1, 2, 1, 1).double()
    for t, moved in ((0.3, False), (0.5, True), (0.6, True), (0.9, False)):
        time = torch.tensor([t], dtype=torch.float64)
        assert (float((within(x, time).mean - plain(x, time).mean).abs().max()) > 0) == moved
    assert seen == [0.5, 0.6], "outside, the classifier is not asked"
    assert bool(guided(plain, log_p)(x, torch.ones(1).double()).mean.isfinite().all())


def test_unknown_classes_are_not_guided() -> None:
    made = family()
    x, t = torch.randn(2, 2, 1, 1, generator=stream(0, "x")), torch.tensor([0.5, 0.5])
    said = made.log_class(torch.tensor([3, SPEC.classes]), x, t)
    assert float(said[0].detach()) < 0 == float(said[1].detach())


@pytest.mark.parametrize("guides", ["free", "classifier"])
def test_a_told_class_is_drawn_and_a_scale_narrows_it(guides: str) -> None:
    toy = Toy(Toy.Config(modes=4, radius=0.5, sigma=0.12))
    means, _, _ = toy.mixture()
    settings = {
        "family.labels": True, "family.guides": guides, "family.width": 32, "budget.batch": 128,
        "family.prediction": "v", "data.modes": 4, "data.radius": 0.5, "data.sigma": 0.12,
    }  # fmt: skip
    run = sfumato.train("ddpm", "toy", images=80_000, settings=settings, progress=False)
    spreads = []
    for scale in (0.0, 1.0, 4.0):
        drawn = redrawn(run.run, {"guidance": scale}).family
        made = drawn.sample(600, label=2, rng=stream(0, "s")).flatten(1)
        near = (torch.cdist(made, means).argmin(1) == 2).float().mean()
        spreads.append(float((made - means[2]).square().sum(1).mean().sqrt()))
        assert (
            float(near) == pytest.approx(0.25, abs=0.08) if scale == 0 else float(near) > (0.8 if scale == 1 else 0.93)
        ), (scale, near)
    assert spreads[0] > 2 * spreads[1] and spreads[2] < spreads[0] / 2
