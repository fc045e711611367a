"""Post-hoc averages against the averages that they stand for, computed from every weight on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import nn

import sfumato
from sfumato.errors import ConfigError
from sfumato.features.lite0 import Lite0
from sfumato.metrics.frechet import Frechet
from sfumato.training.checkpoint import load_tensors
from sfumato.training.post_hoc import PostHoc, average, exponent, overlap
from tests.training.tiny import data

STEPS, NEW = 600, 16


class Still(nn.Module):
    """A family in so far as an average looks at it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.register_buffer("count", torch.zeros(1))

    def deployed(self) -> Any:
        return (self,)

    def companions(self) -> Any:
        return ()


def path_of(step: int) -> torch.Tensor:
    share = step / STEPS
    return torch.tensor([share, np.sin(9 * share), (step % 7) / 7])


def followed(**config: Any) -> tuple[Any, PostHoc]:
    family: Any = Still()
    kept = PostHoc(PostHoc.Config(**config), family)
    for step in range(1, STEPS + 1):
        with torch.no_grad():
            family.weight.copy_(path_of(step))
            family.count += 1
        kept.update(step * NEW, NEW)
    return family, kept


def truth(length: float) -> torch.Tensor:
    """The sum over all steps with the weights t^gamma of its profile, integrated over each step."""
    edges = np.arange(STEPS + 1) / STEPS
    gamma = exponent(length)
    weights = np.diff(edges ** (gamma + 1))
    return torch.stack([path_of(step) * float(w) for step, w in zip(range(1, STEPS + 1), weights, strict=True)]).sum(0)


def deviation(gamma: float) -> float:
    """Of the profile (gamma + 1) t^gamma on [0, 1], by quadrature."""
    mean = integrate.quad(lambda t: t * (gamma + 1) * t**gamma, 0, 1)[0]
    return float(np.sqrt(integrate.quad(lambda t: (t - mean) ** 2 * (gamma + 1) * t**gamma, 0, 1)[0]))


@pytest.mark.parametrize("length", [0.01, 0.05, 0.1, 0.2])
def test_the_exponent_has_the_wanted_deviation(length: float) -> None:
    assert deviation(exponent(length)) == pytest.approx(length, rel=1e-6)


@pytest.mark.parametrize(("a", "b"), [((1.0, 3.0), (2.0, 5.0)), ((2.0, 5.0), (1.0, 3.0)), ((1.5, 4.0), (1.5, 7.0))])
def test_overlaps_are_integrals(a: tuple[float, float], b: tuple[float, float]) -> None:
    def profile(t: float, end: float, gamma: float) -> float:
        return (gamma + 1) * t**gamma / end ** (gamma + 1)

    wanted = integrate.quad(lambda t: profile(t, *a) * profile(t, *b), 0, min(a[0], b[0]))[0]
    assert overlap(a, b) == pytest.approx(wanted, rel=1e-8)


@pytest.mark.parametrize("length", [0.05, 0.07, 0.1, 0.13])
def test_any_length_is_what_the_whole_way_would_have_given(length: float) -> None:
    _, kept = followed(length=length)
    made = kept.deployed()["weight"]
    assert (made - truth(length)).abs().max() < 0.01
    others = [(truth(other) - truth(length)).abs().max() for other in (0.05, 0.1) if abs(other - length) > 0.02]
    assert all(other > 0.02 for other in others)  # so that the bound above says something
    assert len(kept._kept) <= 9


def test_saved_and_loaded_it_goes_on_to_the_same(tmp_path: Path) -> None:
    family, kept = followed()
    moments = set(kept._kept)
    kept.tensors()
    assert set(kept._kept) == moments  # when a checkpoint falls changes nothing
    other: Any = Still()
    again = PostHoc(PostHoc.Config(), other)
    again.load({name: value.clone() for name, value in kept.tensors().items()})
    with torch.no_grad():
        other.load_state_dict(family.state_dict())
    for one in (kept, again):
        one.update((STEPS + 1) * NEW, NEW)
    assert torch.equal(kept.deployed()["weight"], again.deployed()["weight"])
    assert float(again.deployed()["count"]) == STEPS  # buffers are copied


def test_a_run_keeps_its_snapshots_and_takes_another_length(tmp_path: Path) -> None:
    settings = {"family.width": 4, "budget.batch": 16, "budget.average": "post_hoc"}
    run = sfumato.train("ddpm", data(), images=640, out=tmp_path / "r", settings=settings, progress=False)
    assert "chosen after training" in run.card
    kept = load_tensors(tmp_path / "r/snapshots.safetensors")
    short, own = run.averaged(0.05), run.averaged(0.1)
    name = "network.unet.enter.weight"
    assert torch.equal(own.family.state_dict()[name], run.family.state_dict()[name])
    assert not torch.equal(short.family.state_dict()[name], own.family.state_dict()[name])
    assert not torch.equal(short.sample(1), own.sample(1))
    assert torch.equal(average(kept, (0.05, 0.1), 0.1)[name], own.family.state_dict()[name])
    metric = Frechet.Config(features=Lite0.Config(layer="b4"), replicates=0, context=False)
    errors = [model.evaluate(metrics=[metric], test=8)[0].scores for model in (run, own, short)]
    assert errors[0] and errors[0] == errors[1] != errors[2], "an average is measured with the run's own weights"
    run.save(tmp_path / "own")
    short.save(tmp_path / "short")
    assert torch.equal(sfumato.load_run(tmp_path / "short").sample(1), short.sample(1))
    with pytest.raises(ConfigError, match=r"not in \(0, 0\.25\)"):
        run.averaged(0.5)
    plain = sfumato.train("ddpm", data(), images=32, settings={"family.width": 4, "budget.batch": 16}, progress=False)
    with pytest.raises(ConfigError, match="no snapshots"):
        plain.averaged(0.1)
