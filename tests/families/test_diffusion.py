"""The engine of diffusions: what its network hears, another schedule to draw by, previews, learnt variance, pairs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.families.base import Family
from sfumato.families.predictions import Prediction
from sfumato.images import Images
from sfumato.kinds import build, parse
from sfumato.networks.condition import NOTHING, Condition
from sfumato.networks.layers import ResidualBlock
from sfumato.streams import stream
from sfumato.tasks.base import Task
from sfumato.training.run import make_family

from .test_meaning import batch

SPEC = DataSpec(channels=1, size=(4, 4))


def family(kind: str = "ddpm", spec: DataSpec = SPEC, **settings: Any) -> Any:
    return make_family(parse(Family, {"kind": kind, "width": 8, **settings}), spec, 0)


class Hears(nn.Module):
    """Notes the times and the inputs that it is given, and says nothing."""

    def __init__(self, outputs: int = 1):
        super().__init__()
        self.outputs, self.times, self.seen = outputs, list[float](), list[Tensor]()

    def forward(self, x_t: Images, time: Tensor, condition: Condition) -> Tensor:
        self.times.append(round(float(time[0]), 6))
        self.seen.append(x_t)
        return torch.zeros(len(x_t), self.outputs, *x_t.shape[2:])


@pytest.mark.parametrize("kind", ["ddpm", "edm", "flow_matching", "ncsn"])
def test_the_network_sees_variance_one(kind: str) -> None:
    made = family(kind)
    made.network = heard = Hears()
    x = torch.randn(4000, 1, 4, 4, generator=stream(0, "x"))
    made.loss(batch(made, x))
    assert float(heard.seen[0].std()) == pytest.approx(1.0, abs=0.05)
    made.sample(600, rng=stream(0, "s"))
    assert float(heard.seen[1].std()) == pytest.approx(1.0, abs=0.03), "and so does a walk at its beginning"


def test_another_number_of_steps_and_what_the_network_hears() -> None:
    """Paper 001 trains with T = 500 and draws with 300: its network is told the index, as if there were less noise."""
    settings = {
        "schedule": {"kind": "linear", "steps": 500, "rescale": False},
        "walked": {"kind": "linear", "steps": 300, "rescale": False},
        "sampler": {"kind": "ancestral"},
    }
    heard = []
    for told in ("index", "noise"):
        made = family(told=told, **settings)
        made.network = Hears()
        made.draw(1, NOTHING, (4, 4), stream(0, "s"))
        heard.append(made.network.times)
    assert made.calls() == 300 and len(heard[0]) == len(heard[1]) == 300
    assert heard[0][0] == 0.6 and heard[0][-1] == 0.002
    trained, walked = made.schedule, made.walked
    ratio = walked.at(1.0)[1] / walked.at(1.0)[0]
    level = heard[1][0] * 500
    below, above = (trained.at((level + step) / 500) for step in (-1, 1))
    assert level == round(level) and below[1] / below[0] < ratio < above[1] / above[0]
    with pytest.raises(ConfigError, match="two grids"):
        family(told="index", walked="rectified")


def test_a_walk_shows_what_it_expects_and_draws_the_same() -> None:
    made, seen = family(sampler={"kind": "ddim", "steps": 4}), list[tuple[float, Images]]()
    plain = made.draw(2, NOTHING, (4, 4), stream(0, "s"))
    shown = made.walk(2, NOTHING, (4, 4), stream(0, "s"), lambda t, x: seen.append((t, x)))
    assert torch.equal(plain, shown)
    assert [t for t, _ in seen] == made.sampler.times(made.schedule)[:-1] and torch.equal(seen[-1][1], plain)


def test_a_learnt_variance_is_what_ancestral_steps_have() -> None:
    made = family(
        variance="learned", schedule={"kind": "linear", "steps": 50}, sampler={"kind": "ancestral"}, clip=False
    )
    made.network = Hears(outputs=2)
    told = made.denoiser()(torch.zeros(3, 1, 4, 4), torch.full((3,), 0.5).double())
    bar, beta = made.schedule.alpha_bar, made.schedule.betas()
    tilde = (1 - bar[24]) / (1 - bar[25]) * beta[24]
    assert float(told.step_variance[0, 0, 0, 0]) == pytest.approx(float((beta[24] * tilde).sqrt()), rel=1e-5)
    terms = made.loss(batch(made, torch.randn(8, 1, 4, 4)))
    assert set(terms) == {"denoising", "variance"} and made.network.times
    with pytest.raises(ConfigError, match="steps of a grid"):
        family("edm", variance="learned")


def test_the_variance_s_loss_moves_no_mean() -> None:
    made = family(variance="learned", schedule={"kind": "cosine", "steps": 20})
    last = made.network.unet.exit if hasattr(made.network.unet, "exit") else [*made.network.unet.children()][-1]
    weight = [p for p in last.parameters() if p.ndim == 4][-1]
    (slope,) = torch.autograd.grad(made.loss(batch(made, torch.randn(8, 1, 4, 4)))["variance"], weight)
    assert float(slope[0].abs().max()) == 0.0 < float(slope[1].abs().max())


def test_pairs_are_nearer_than_any_others() -> None:
    x = torch.randn(64, 1, 4, 4, generator=stream(0, "x"))
    free, matched = (family("flow_matching", pairing=pairing) for pairing in (False, True))
    noises = [made.paired(batch(made, x)) for made in (free, matched)]
    lengths = [(x - eps).square().flatten(1).sum(1).mean() for eps in noises]
    assert lengths[1] < 0.85 * lengths[0]
    sums = [eps.flatten(1).sum(1).sort().values for eps in noises]
    torch.testing.assert_close(*sums)  # the same noises, in another order
    with pytest.raises(ConfigError, match="pairing"):
        family("flow_matching", DataSpec(channels=1, size=(4, 4), condition=2), pairing=True)


def test_the_flow_s_likelihood_can_be_asked_for() -> None:
    x = torch.zeros(2, 1, 4, 4)
    bound, ode = (family(likelihood=way).log_prob(x, NOTHING, stream(0, "p")) for way in ("bound", "ode"))
    assert bool(ode.isfinite().all()) and not torch.allclose(bound.double(), ode.double())


def test_the_bound_is_of_the_walk_that_draws() -> None:
    """On another schedule the images are noised by that one, so that what the network sees has variance 1 at every look."""
    made = family(schedule={"kind": "cosine", "steps": 50}, walked={"kind": "geometric", "steps": 50})
    made.network = heard = Hears()
    made.log_prob(torch.randn(500, 1, 4, 4, generator=stream(0, "x")), NOTHING, stream(0, "b"))
    assert [float(x.std()) for x in heard.seen] == pytest.approx([1.0] * len(heard.seen), abs=0.06)


def test_residual_sums_keep_their_variance_where_it_is_asked_for() -> None:
    x = torch.randn(8, 16, 8, 8, generator=stream(0, "x"))
    plain, rescaled = (ResidualBlock(16, 16, rescale=rescale) for rescale in (False, True))
    rescaled.load_state_dict(plain.state_dict())
    torch.testing.assert_close(rescaled(x), plain(x) / 2**0.5)
    made = [family(network={"kind": "unet", "rescale": rescale}) for rescale in (False, True)]
    assert [sum(block.factor != 1 for block in one.modules() if isinstance(block, ResidualBlock)) for one in made] == [
        0,
        sum(isinstance(block, ResidualBlock) for block in made[1].modules()),
    ]


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_a_reconstruction_term_is_of_the_clean_image(prediction: str) -> None:
    made = family(prediction=prediction, reconstruction=3.0)
    x = torch.randn(64, 1, 4, 4, generator=stream(0, "x"))

    class Knows(nn.Module):
        """Says what is true of an image that is 0.25 brighter."""

        def forward(self, seen: Images, time: Tensor, condition: Condition) -> Tensor:
            alpha, sigma = made.coefficients(time.double(), seen)
            eps = (seen * made.length(time.double(), seen) - alpha * (x + 0.25)) / sigma
            return made.prediction.target(x + 0.25, eps, alpha, sigma)

    made.network = Knows()
    terms = made.loss(batch(made, x))
    assert float(terms["reconstruction"]) == pytest.approx(3 * 0.25, rel=1e-3)
    assert "reconstruction" not in family().loss(batch(family(), x))


@pytest.mark.parametrize("kind", ["ddpm", "edm", "flow_matching"])
def test_what_is_given_with_noise_is_not_put_back(kind: str) -> None:
    """A network that knows the image, which is black at -1, is not overruled by what it was shown."""
    task = build(parse(Task, {"kind": "inpainting", "mask": "half", "noise": 0.3}))
    x = -torch.ones(8, 1, 8, 8)
    observation = task.observe(x, [stream(0, "mask", i) for i in range(8)])
    family: Any = make_family(parse(Family, {"kind": kind, "width": 4}), DataSpec(channels=1, size=8, condition=2), 0)
    family.prediction = build(parse(Prediction, "x0"))
    family.answer = lambda x_t, t, condition: (x.to(x_t), None)
    made = family.sample(8, observation=observation, rng=stream(0, "s"))
    torch.testing.assert_close(made, x, atol=1e-3, rtol=0)
