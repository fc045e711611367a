"""`sfumato exact`: the command, its page, and what it says of walks that are known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from sfumato.data.digits import Digits
from sfumato.data.photos import Photos
from sfumato.data.toy import Toy
from sfumato.exact import DRAWS, apart, drawn, gaussian_of, law_of, stationary
from sfumato.kinds import build, parse
from sfumato.maths.mixture import Mixture
from sfumato.samplers.base import Sampler
from sfumato.samplers.exact import Law, denoiser_of, errors
from sfumato.samplers.schedules import Schedule
from sfumato.streams import stream
from tests.cases import call


def told(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "exact.json").read_text())["rows"]
    return rows


def test_the_command_and_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["exact", "digits", "--steps", "5,20", "--sampler", "ddim,unipc,heun", "--out", tmp_path]
    assert call(*arguments) == 0
    rows = {(row["sampler"], row["steps"]): row for row in told(tmp_path)}
    assert [row["calls"] for row in rows.values()] == [5, 20, 5, 20, 9, 39]
    assert rows["unipc", 20]["total"] < rows["ddim", 20]["total"] < rows["ddim", 5]["total"]
    page = (tmp_path / "exact.html").read_text()
    assert "<svg" in page and "unipc" in page and "digits" in page and "http" not in page.split("<svg")[0]
    assert "20 steps" in capsys.readouterr().out


def test_bad_wishes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wish, words in (
        (["--steps", "5,many"], "whole numbers"),
        (["--sampler", "dpm"], "unknown sampler kind"),
        (["--schedule", "cosin"], "unknown schedule kind"),
        (["--steps", "0"], "whole numbers from 1 on"),
        (["--spacing", "odd"], "unknown spacing kind"),
        (["--classes", "--set", "data.shrink=1", "--set", "data.kind=photos"], "has none"),
    ):
        assert call("exact", "digits", "--out", tmp_path, *wish) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1


def test_clamped_walks_are_compared_by_draws(tmp_path: Path) -> None:
    settings = ["--set", "data.train=200", "--steps", "40", "--sampler", "ancestral", "--clamped", "--out", tmp_path]
    assert call("exact", "digits", *settings) == 0
    plain, clamped = told(tmp_path)
    assert clamped["sampler"] == "ancestral, clamped" and clamped["start"] is None
    assert clamped["total"] > plain["total"] + 5 * clamped["error"], "normal pixels go beyond what is clamped"
    assert clamped["floor"] > 0
    assert plain["floor"] is None


def test_the_law_is_that_of_the_images() -> None:
    data = Digits(Digits.Config()).load()
    law, mixture, words = law_of(data, classes=False, clamp=False)
    assert law is not None and mixture is not None and "covariance" in words
    x = mixture.draw(4000, stream(0, "x"))
    true = data.train.images.double().flatten(1) / 127.5 - 1
    true = torch.cat([true, true.view(-1, 8, 8).flip(2).flatten(1)])
    np.testing.assert_allclose(x.mean(0).numpy(), true.mean(0).numpy(), atol=0.06)
    np.testing.assert_allclose(x.T.cov().numpy(), true.T.cov().numpy(), atol=0.09)
    assert float(law.variance.sum()) == pytest.approx(float(true.T.cov().trace()) + 0.64, rel=1e-2), "with its ridge"
    assert float(law.mean.square().sum()) == pytest.approx(float(true.mean(0).square().sum()), rel=1e-4)


def test_a_mixture_of_the_classes_is_the_toy_itself() -> None:
    toy = Toy(Toy.Config(n=20_000))
    means, sigma, weights = toy.mixture()
    _, mixture = gaussian_of(toy.load(), classes=True)
    torch.testing.assert_close(mixture.means, means.double(), atol=0.005, rtol=0)
    torch.testing.assert_close(mixture.axes[1].sqrt(), torch.full((8, 2), sigma).double(), atol=0.004, rtol=0)
    cosine: Schedule = build(parse(Schedule, "cosine"))
    known = Mixture.round(weights, means, sigma)
    for t in (0.05, 0.4, 0.8):
        alpha, noise = cosine.at(t)
        x_t = torch.randn(50, 2, 1, 1, generator=stream(0, "x")).double()
        made = denoiser_of(known, cosine)(x_t, torch.full((50,), t).double()).mean
        x_t.requires_grad_(True)
        modes = Independent(Normal(alpha * means.double(), math.hypot(alpha * sigma, noise)), 1)
        density = MixtureSameFamily(Categorical(weights.double()), modes).log_prob(x_t.flatten(1))
        (score,) = torch.autograd.grad(density.sum(), x_t)
        true = ((x_t + noise**2 * score) / alpha).detach().flatten(1)
        torch.testing.assert_close(made.flatten(1), true)
    x = known.draw(8000, stream(0, "d"))
    near = torch.cdist(x, means.double()).min(1)
    assert int(torch.bincount(near.indices, minlength=8).min()) > 850
    assert float(near.values.square().mean().sqrt()) == pytest.approx(2**0.5 * sigma, rel=0.02)


def test_components_of_other_widths_are_told_apart() -> None:
    """A narrow and a wide one about the same mean: by quadrature over the clean number."""
    narrow = Mixture.of(torch.tensor([0.3, 0.7]), torch.tensor([[0.1], [0.1]]), torch.tensor([[[0.01]], [[0.5]]]))
    cosine: Schedule = build(parse(Schedule, "cosine"))
    x_0 = torch.linspace(-6, 6, 20_001).double()
    p = sum(w * torch.distributions.Normal(0.1, v**0.5).log_prob(x_0).exp() for w, v in ((0.3, 0.01), (0.7, 0.5)))
    for t in (0.1, 0.5, 0.8):
        a, s = cosine.at(t)
        x_t = torch.tensor([-1.0, 0.05, 0.2, 2.0]).double()
        joint = p * torch.distributions.Normal(a * x_0, s).log_prob(x_t[:, None]).exp()
        made = denoiser_of(narrow, cosine)(x_t.view(-1, 1, 1, 1), torch.full((4,), t).double()).mean.flatten()
        torch.testing.assert_close(made, (joint * x_0).sum(1) / joint.sum(1), atol=1e-6, rtol=1e-5)


def test_walks_to_a_mixture_come_as_near_as_draws_of_it(tmp_path: Path) -> None:
    settings = ["--classes", "--steps", "2,100", "--sampler", "ddim", "--set", "data.n=4000", "--out", tmp_path]
    assert call("exact", "toy", *settings) == 0
    few, many = told(tmp_path)
    assert few["total"] > many["total"] + 2 * (few["error"] + many["error"]) and many["total"] < 0.7 * many["floor"]
    assert 0 < many["error"] and many["start"] is None
    assert "\u00b1" in (tmp_path / "exact.html").read_text()


@pytest.mark.parametrize(("name", "steps"), [("ddim", 4), ("ancestral", 20), ("heun", 5)])
def test_draws_say_of_a_linear_walk_what_its_formula_says(name: str, steps: int) -> None:
    _, mixture, _ = law_of(Digits(Digits.Config()).load(), classes=False, clamp=False)
    assert mixture is not None
    axes = torch.linalg.eigh(mixture.covariance)[1]
    torch.testing.assert_close(mixture.covariance @ axes, axes * torch.linalg.eigvalsh(mixture.covariance))
    noise: Schedule = build(parse(Schedule, "cosine"))
    walk: Sampler = build(parse(Sampler, {"kind": name, "steps": steps}))
    law = Law(mixture.axes[0][0].T @ mixture.means[0], mixture.axes[1][0])
    told = errors(walk, noise, law).total
    made = drawn(walk, noise, mixture, False, 0)
    true, others = ([mixture.draw(DRAWS, stream(0, word, k)) for k in range(len(made))] for word in ("a", "b"))
    floor = sum(apart(a, b, axes) for a, b in zip(true, others, strict=True)) / len(made)
    found = sum(apart(a, b, axes) for a, b in zip(true, made, strict=True)) / len(made) - floor
    assert found**0.5 == pytest.approx(told, rel=0.08)


def test_stationary_images_have_the_mean_square_of_the_images() -> None:
    data = Photos(Photos.Config(size=32, train=300)).load()
    law = stationary(data)
    assert isinstance(law, Law) and len(law.mean) == 3 * 32 * 32
    x = data.train.images.double() / 127.5 - 1
    mean = x.mean((0, 2, 3))
    total = float((x - mean[:, None, None]).square().flatten(1).sum(1).mean())
    assert float(law.variance.sum()) == pytest.approx(total, rel=1e-6), "Parseval"
    assert float(law.mean.square().sum()) == pytest.approx(32 * 32 * float(mean.square().sum()), rel=1e-6)
