"""Consistency models: what is compared with what, how far apart, and that two calls then draw a law that is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from sfumato.data.base import DataSpec
from sfumato.data.toy import Toy
from sfumato.families.base import Family, Stage
from sfumato.images import Images
from sfumato.kinds import build, parse
from sfumato.networks.condition import NOTHING, Condition
from sfumato.restorers.base import Restorer
from sfumato.samplers.base import Sampler
from sfumato.samplers.exact import Law, walked
from sfumato.samplers.schedules import Schedule
from sfumato.streams import stream
from sfumato.tasks.generation import Generation
from sfumato.training.budget import Budget
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer

from .test_meaning import batch

SPEC = DataSpec(channels=1, size=(4, 4))
SD = 0.3


def family(**settings: Any) -> Any:
    return make_family(parse(Family, {"kind": "consistency", "width": 8, **settings}), SPEC, 0)


class Jumps(torch.nn.Module):
    """The exact answer for images of independent N(0, SD^2), in the terms of a preconditioned network; notes its times."""

    def __init__(self, schedule: Schedule, sharp: bool):
        super().__init__()
        self.schedule, self.sharp, self.times = schedule, sharp, list[Tensor]()
        self.more = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: Images, time: Tensor, condition: Condition) -> Images:
        self.times.append(time)
        sigma = self.schedule.sigma(time).view(-1, 1, 1, 1).float()
        x_t = x * (1 + sigma**2).sqrt()
        gain = SD / (SD**2 + sigma**2).sqrt() if self.sharp else SD**2 / (SD**2 + sigma**2)
        whole = sigma**2 + 0.25
        return ((1 + self.more) * gain * x_t - 0.25 / whole * x_t) / (sigma * 0.5 / whole.sqrt())


def slope_of(sharp: bool, within: float) -> float:
    """Of the loss in a factor on all answers: 0 where the map is its own target."""
    made = family(halvings=6, tuned={"kind": "log_normal", "mean": -0.8, "sd": 0.5})
    made.network = Jumps(made.schedule, sharp)
    x = SD * torch.randn(20_000, 1, 4, 4, generator=stream(0, "x"))
    made.tuning(replace(batch(made, x), within=within))["consistency"].backward()
    return float(made.network.more.grad)


def test_the_map_along_the_flow_is_its_own_target_and_a_denoiser_is_not() -> None:
    """Near its end x_0 = SD x_t / sqrt(SD^2 + sigma^2), which leads each path to its image; at its beginning the mean."""
    assert abs(slope_of(sharp=True, within=0.99)) < 0.1 * abs(slope_of(sharp=False, within=0.99))
    assert abs(slope_of(sharp=False, within=0.0)) < 0.1 * abs(slope_of(sharp=True, within=0.0))


def test_r_closes_in_on_t() -> None:
    made = family(halvings=6)
    t = made.tuned.draw(made.schedule, 2000, stream(0, "t"))
    gaps = []
    for a in range(6):
        r = made.before(t, a / 6)
        s, s_r = made.ratio(t), made.ratio(r)
        wanted = (1 - (1 + 8 / (1 + s.exp())) / 2 ** (a + 1)).clamp(min=0)
        torch.testing.assert_close(s_r / s, wanted, atol=2e-3, rtol=0)
        assert bool((r < t).all())
        gaps.append(float((1 - s_r / s).mean()))
    assert gaps == sorted(gaps, reverse=True) and float((made.before(t, 0.0) == 0).float().mean()) > 0.5
    torch.testing.assert_close(made.before(t, 1.0), made.before(t, 0.999))


def test_on_a_grid_r_is_a_level_below() -> None:
    made = family(schedule={"kind": "cosine", "steps": 50}, prediction="v")
    t = made.tuned.draw(made.schedule, 500, stream(0, "t"))
    for within in (0.0, 0.5, 0.99):
        r = made.before(t, within) * 50
        torch.testing.assert_close(r, r.round(), atol=1e-9, rtol=0)
        assert bool((r < (t * 50).round()).all()) and float(r.min()) >= 0


def test_one_image_and_one_noise_lie_behind_both_points() -> None:
    """Both answers are right for a network that knows the image, whatever the noise: the loss is nothing."""
    made = family()
    x = torch.randn(50, 1, 4, 4, generator=stream(0, "x"))

    class Knows(torch.nn.Module):
        def forward(self, seen: Images, time: Tensor, condition: Condition) -> Images:
            sigma = made.schedule.sigma(time).view(-1, 1, 1, 1).float()
            x_t = seen * (1 + sigma**2).sqrt()
            whole = sigma**2 + 0.25
            return (x - 0.25 / whole * x_t) / (sigma * 0.5 / whole.sqrt())

    made.network = Knows()
    assert float(made.tuning(batch(made, x))["consistency"]) < 1e-3


@pytest.mark.parametrize("within", [0.0, 0.5, 0.99])
def test_the_loss_is_the_slope_of_the_answers_along_a_path(within: float) -> None:
    """Answers that are u s off at every s: |u s_t - u s_r| / (s_t - s_r) is u, whatever t and r are."""
    made = family(halvings=6)
    x = torch.randn(200, 1, 4, 4, generator=stream(0, "x"))
    made.image = lambda x_0, eps, t, told: x_0 + 30 * made.ratio(t).view(-1, 1, 1, 1).float()
    assert float(made.tuning(replace(batch(made, x), within=within))["consistency"]) == pytest.approx(30, rel=0.01)


def test_dropped_activations_are_the_same_in_both() -> None:
    """Where r and t fall together nearly, so do the answers; with other masks they would not."""
    loud = {"kind": "log_normal", "mean": 2.0, "sd": 0.1}  # where the answer is the network's alone
    made = family(network={"kind": "unet", "dropout": 0.5}, halvings=30, tuned=loud)
    with torch.no_grad():
        for weight in made.network.parameters():
            weight.copy_(0.2 * torch.randn(weight.shape, generator=stream(0, "w")))
    x = torch.randn(50, 1, 4, 4, generator=stream(0, "x"))
    seen = list[Tensor]()
    image = made.image
    made.image = lambda *given: seen.append(image(*given)) or seen[-1]
    one = batch(made, x)
    made.train().tuning(replace(one, within=0.999))
    torch.testing.assert_close(seen[0], seen[1], atol=1e-3, rtol=1e-3)


def test_no_slope_reaches_the_earlier_point() -> None:
    made = family()
    made.network = Jumps(made.schedule, sharp=True)
    x = SD * torch.randn(64, 1, 4, 4, generator=stream(0, "x"))
    made.image, calls = made.image, list[bool]()
    image = made.image

    def noted(*given: Any) -> Images:
        calls.append(torch.is_grad_enabled())
        return image(*given)

    made.image = noted
    made.tuning(batch(made, x))
    assert calls == [True, False]


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_walk_of_the_exact_map_draws_the_law(steps: int) -> None:
    made = family(sampler={"kind": "consistency", "steps": steps})
    made.network = Jumps(made.schedule, sharp=True)
    made.config = made.config.model_copy(update={"clip": False})
    made.network.requires_grad_(False)
    x = made.draw(3000, NOTHING, (4, 4), stream(0, "s"))
    assert float(x.std()) == pytest.approx(SD, rel=0.02) and made.calls() == steps
    assert len(made.network.times) == steps
    law = Law(torch.zeros(1).double(), torch.tensor([SD**2]).double())
    sampler: Sampler = build(parse(Sampler, {"kind": "consistency", "steps": steps}))
    times = sampler.times(made.schedule)
    *_, end = walked(sampler, made.denoiser(), times, Law(law.mean, torch.tensor([made.schedule.spread**2]).double()))
    assert float(end.variance.sqrt()) == pytest.approx(SD, rel=2e-4)


def test_it_is_no_denoiser_to_others() -> None:
    """A restorer that asks for expectations, and a bound, would take its answers for what they are not."""
    needs: Any = parse(Restorer, "ddnm")
    assert "consistency" in needs.owner.lacks(family().config)
    assert not hasattr(type(family()), "exact") or not isinstance(family(), needs.owner.needs)


def test_stages_and_their_optimisers() -> None:
    made = family(pretrain=0.6)
    first, second = made.stages()
    assert (first.share, first.use_average, second.share) == (0.6, True, 0.4)
    assert [made.players(stage)[0].optimizer for stage in (first, second)] == [
        made.config.optimizer,
        made.config.tuning_optimizer,
    ]
    (only,) = family(pretrain=0.0).stages()
    assert only.share == 1.0 and made.players(only)[0].objectives[0].loss == made.tuning
    assert made.players(Stage("diffusion"))[0].objectives[0].loss == made.loss


def test_two_calls_draw_a_ring_that_a_diffusion_needs_many_for() -> None:
    """Eight modes of sd 0.05 on a circle of radius 0.7; a mean of them lies in the middle, 0.7 away."""
    toy = Toy(Toy.Config(n=10_000))
    means, sigma, _ = toy.mixture()
    means = means.double()
    data = toy.load()
    config: Any = parse(Family, {"kind": "consistency", "width": 16})
    made = make_family(config, data.spec, 0)
    Trainer(made, Generation(Generation.Config()), Budget(images=120_000, batch=256), seed=0).run(data.train)
    off = {}
    for steps in (1, 2):  # a diffusion's two are 0.57 away, and its 35 are 0.12
        made.sampler = build(parse(Sampler, {"kind": "consistency", "steps": steps}))
        x = made.sample(800, rng=stream(0, "s")).flatten(1).double()
        nearest = torch.cdist(x, means).min(1)
        off[steps] = float(nearest.values.square().mean().sqrt())
    assert int(torch.bincount(nearest.indices, minlength=8).min()) > 25
    assert math.sqrt(2) * sigma < off[2] < 0.3 and off[2] < off[1] < 0.5
