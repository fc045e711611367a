"""SinGAN: what each scale's losses are, that one scale is trained at a time, that z* gives the exemplar back, and its uses."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.data.base import DataSpec, Split
from sfumato.errors import ConfigError
from sfumato.families.base import Batch
from sfumato.families.singan import SinGAN
from sfumato.families.singan_uses import animate, enlarge, inject
from sfumato.families.texture import Wish
from sfumato.images import Images, Pixels, to_float
from sfumato.maths.regions import Box
from sfumato.networks.condition import NOTHING
from sfumato.networks.singan import ScaleGenerator, enlarged, ratios, shrunk
from sfumato.streams import stream
from sfumato.tasks.generation import Generation
from sfumato.testing import check_family
from sfumato.testing.parts import GREY, pictures
from sfumato.training.averages import deployed_state
from sfumato.training.budget import Budget
from sfumato.training.loader import Loader
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer

TASK = Generation(Generation.Config())
QUICK: dict[str, Any] = {"width": 8, "turns": 30, "critic_turns": 1, "generator_turns": 2}


def made(size: tuple[int, int] = (20, 24), **settings: Any) -> SinGAN:
    family = make_family(SinGAN.Config(**{"width": 4, **settings}), DataSpec(channels=3, size=size), 0)
    assert isinstance(family, SinGAN)
    return family


def learnt(family: SinGAN, x: Pixels, scale: int, known: Tensor | None = None) -> None:
    """What comes before a scale's turns, of it and of the coarser ones."""
    for stage in family.stages():
        if int(stage.name.split()[1]) >= scale:
            for _ in family.fit(stage, Loader(Split(x, known=known), 1)):
                pass


def batch(x: Pixels, *names: str) -> Batch:
    images = to_float(x)
    return Batch(images, TASK.observe(images, stream(0)), NOTHING, stream(0, "turn", *names))


def rmse(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().square().mean().sqrt())


@pytest.fixture(scope="module")
def picture() -> Pixels:
    return pictures(1, 3, (20, 24))


@pytest.fixture(scope="module")
def trained(picture: Pixels) -> SinGAN:
    family = made(**QUICK)
    Trainer(family, TASK, Budget(average="none"), seed=0).run(Split(picture))
    return family


def test_contract() -> None:
    check_family(SinGAN.Config(width=4, turns=2, critic_turns=1, generator_turns=1), GREY)


def test_scales_are_the_papers() -> None:
    sides = [round(250 * ratio) for ratio in ratios((250, 250), 0.75, 25, 250)]
    assert len(sides) == 10 and sides[0] == 250 and sides[-1] == 25
    assert all(0.74 < b / a < 0.79 for a, b in zip(sides, sides[1:], strict=False))
    assert round(500 * ratios((500, 1000), 0.75, 25, 250)[0]) == 125, "no side above 250"
    assert made((4, 5)).sizes((4, 5)) == [(4, 5)], "one scale where there is no room for two"
    family = made((64, 96), doubling=2)
    assert family.sizes((64, 96))[-1] == (25, 38) and len(family.ratios) == 5
    first = [network.body[0].out_channels for network in family.pyramid.generators]
    assert first == [16, 8, 8, 4, 4]


def test_one_scale_after_the_other_is_trained(picture: Pixels) -> None:
    family = made(turns=10)
    stages = family.stages()
    assert [stage.name for stage in stages[:3]] == ["scale 3", "scale 3 slowly", "scale 2"]
    assert [stage.turns for stage in stages] == [8, 2] * 4
    for stage in stages:
        n, slow = int(stage.name.split()[1]), stage.name.endswith("slowly")
        for player, network in zip(
            family.players(stage), (family.critics[n], family.pyramid.generators[n]), strict=True
        ):
            assert {id(v) for v in player.weights} == {id(v) for v in network.parameters()}
            assert [group.rate for group in player.groups] == [0.1 if slow else 1.0]
            assert player.turns == 3 and stage.keep_optimizers == slow


class Grey(nn.Module):
    """A critic with a known answer: the mean of a pixel's channels, times a number."""

    def __init__(self, times: float):
        super().__init__()
        self.times, self.seen = times, []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape[2:]))
        return self.times * x.mean(1, keepdim=True)


@pytest.mark.parametrize("times", [1.0, -2.0])
@pytest.mark.parametrize("n", [3, 1])
def test_losses_are_the_papers(picture: Pixels, n: int, times: float) -> None:
    family = made()
    learnt(family, picture, n)
    family.critics[n] = Grey(times)
    size = family.pyramid.sizes[n]
    real = F.interpolate(to_float(picture), size, mode="bilinear", antialias=True)
    told = {name: float(term.detach()) for name, term in family.critic_loss(n, batch(picture)).items()}
    fake = family.pyramid(family.noise(family.pyramid.sizes[n:], batch(picture).rng), last=n).detach()
    assert told["real"] == pytest.approx(-times * float(real.mean()), rel=1e-3)
    assert told["made"] == pytest.approx(times * float(fake.mean()), rel=1e-3, abs=1e-6)
    # a pixel's score changes by |times| / 3 with each of three channels: a slope of |times| / sqrt(3) at each
    assert told["penalty"] == pytest.approx(0.1 * (abs(times) / math.sqrt(3) - 1) ** 2, rel=1e-4)
    loss = {name: float(term.detach()) for name, term in family.generator_loss(n, batch(picture)).items()}
    assert loss["adversarial"] == pytest.approx(-times * float(fake.mean()), rel=1e-3, abs=1e-6)
    again = family.pyramid(family.pyramid.still(n), last=n).detach()
    assert loss["reconstruction"] == pytest.approx(10 * rmse(again, real) ** 2, rel=1e-3)


def test_noise_is_as_strong_as_what_is_missing(trained: SinGAN, picture: Pixels) -> None:
    pyramid = trained.pyramid
    assert float(pyramid.amplitude[-1]) == 1.0
    for n, size in enumerate(pyramid.sizes[:-1]):
        below = enlarged(pyramid(pyramid.still(n + 1), last=n + 1), size)
        real = shrunk(to_float(picture), torch.ones(1, 1, 20, 24), size)[0]
        assert float(pyramid.amplitude[n]) == pytest.approx(0.1 * rmse(below, real), rel=1e-3)


def test_a_scale_begins_with_the_weights_of_the_one_below(picture: Pixels) -> None:
    family = made()
    learnt(family, picture, 2)
    for networks in (family.pyramid.generators, family.critics):
        first, second, third = (torch.cat([v.flatten() for v in networks[n].parameters()]) for n in (3, 2, 1))
        assert torch.equal(first, second) and not torch.equal(second, third)


def test_z_star_gives_the_exemplar_back(trained: SinGAN, picture: Pixels) -> None:
    x, before = to_float(picture), made(**QUICK)
    learnt(before, picture, 0)
    assert torch.equal(trained.pyramid.exemplar, x)
    after = rmse(trained.reconstruction(), x)
    assert after < 0.4 * rmse(before.reconstruction(), x) and after < 0.1, after
    still = trained.pyramid.still()
    other = trained.pyramid([*still[:-1], torch.roll(still[-1], 3, 3)])
    assert rmse(other, x) > 1.5 * after, "another z gives another picture"


def test_pictures_differ_and_have_any_size(trained: SinGAN, picture: Pixels) -> None:
    one, two = (trained.sample(1, rng=stream(0, "s", i)) for i in range(2))
    assert rmse(one, two) > 0.02
    near = (float(part.mean()) for part in (one, to_float(picture)))
    assert abs(next(near) - next(near)) < 0.2
    for size in ((7, 50), (33, 24), (1, 1)):
        assert trained.sample(1, size=size, rng=stream(0, "s")).shape == (1, 3, *size)
    shares: list[float] = []
    trained.make(Wish((20, 24), watch=shares.append), stream(0, "s"))
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_a_large_exemplar_is_learnt_smaller() -> None:
    family = made((40, 30), largest=20)
    assert family.pyramid.sizes[0] == (20, 15) and family.sizes((80, 60))[0] == (40, 30)
    assert family.sample(1, rng=stream(0, "s")).shape == (1, 3, 40, 30)


def test_a_strip_is_refused() -> None:
    with pytest.raises(ConfigError, match="10 x 1000 is too narrow for singan once it is 250 long; raise largest"):
        made((10, 1000))


def test_a_generator_adds_to_its_picture() -> None:
    network, x = ScaleGenerator(3, 4), torch.rand(1, 3, 9, 7, generator=stream(0, "x"))
    assert not torch.allclose(network(torch.zeros_like(x), x), network(torch.ones_like(x), x), atol=1e-6)
    nn.init.zeros_(network.body[-1].weight), nn.init.zeros_(network.body[-1].bias)  # type: ignore
    assert torch.equal(network(torch.ones_like(x), x), x)


def test_only_what_counts_is_seen(picture: Pixels) -> None:
    """Whatever lies outside the mask, white, black or no number at all, the same is learnt to the bit."""
    known = torch.zeros(1, 1, 20, 24, dtype=torch.bool)
    known[:, :, 2:16, 3:20] = True
    known[:, :, 2:6, 3:6] = False
    states: list[Mapping[str, Tensor]] = []
    for outside in (0, 255):
        x = torch.where(known, picture, torch.tensor(outside, dtype=torch.uint8))
        family = made(turns=1, critic_turns=1, generator_turns=1)
        Trainer(family, TASK, Budget(average="none"), seed=0).run(Split(x, known=known))
        states.append(deployed_state(family))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    family = made()
    learnt(family, picture, 3, known)
    for n in range(4):
        family.exemplars[(family.known == 0).expand_as(family.exemplars)] = math.nan
        for _ in family.learn(family.stages()[2 * (3 - n)], stream(0)):
            pass
        real, counts = family.get_buffer(f"real_{n}"), family.get_buffer(f"known_{n}")
        assert bool(real.isfinite().all()) and 0.3 < float(counts.mean()) < 0.6
        box = Box(*family.boxes[n].tolist())
        assert bool(counts[(..., *box.place)].all()), "all of the rectangle counts"
        family.critics[n] = Grey(1.0)
        again = family.pyramid(family.pyramid.still(n)[:1], family.get_buffer(f"below_{n}"), last=n).detach()
        error = ((again - real).square() * counts).sum() / (3 * counts.sum())
        loss = family.generator_loss(n, batch(picture))["reconstruction"].detach()
        assert float(loss) == pytest.approx(10 * float(error), rel=1e-4)
        terms = {**family.critic_loss(n, batch(picture)), **family.generator_loss(n, batch(picture))}
        assert all(bool(term.isfinite()) for term in terms.values())
        assert set(family.critics[n].seen) == {(box.rows, box.columns)}
    assert Box(*family.boxes[0].tolist()) == Box(2, 6, 14, 14)
    known[:, :, ::3] = False
    with pytest.raises(ConfigError, match="no 4 x 4 rectangle lies in the mask"):
        learnt(made(), picture, 0, known & (torch.arange(24) % 3 > 0))


def test_shrinking_without_a_mask_is_the_usual_one(picture: Pixels) -> None:
    x, ones = to_float(picture), torch.ones(1, 1, 20, 24)
    small, known = shrunk(x, ones, (13, 17))
    torch.testing.assert_close(small, F.interpolate(x, (13, 17), mode="bilinear", antialias=True))
    assert bool(known.all()) and torch.equal(shrunk(x, ones, (20, 24))[0], x)


def test_a_picture_that_enters_at_a_fine_scale_stays_near(trained: SinGAN, picture: Pixels) -> None:
    x = to_float(picture)
    fine, coarse = (inject(trained, x, n, stream(0, "noise")) for n in (0, 2))
    fresh = trained.sample(1, rng=stream(0, "noise"))
    assert rmse(fine, x) < 0.1 and rmse(fine, x) <= rmse(coarse, x) < rmse(fresh, x)
    assert inject(trained, torch.zeros(1, 3, 31, 18), 1, stream(0)).shape == (1, 3, 31, 18)
    for n in (-1, 3):
        with pytest.raises(ConfigError, match="from 0, the finest, to 2"):
            inject(trained, x, n, stream(0))


def test_what_enters_is_as_blurred_as_what_comes_from_below(trained: SinGAN, picture: Pixels) -> None:
    entered: list[Images] = []
    hook = trained.pyramid.generators[1].register_forward_pre_hook(lambda module, told: entered.append(told[1]))
    inject(trained, to_float(picture), 1, stream(0))
    hook.remove()
    coarse = F.interpolate(to_float(picture), trained.pyramid.sizes[2], mode="bilinear", antialias=True)
    wanted = F.interpolate(coarse, trained.pyramid.sizes[1], mode="bicubic")
    torch.testing.assert_close(entered[0], wanted, atol=1e-5, rtol=0)


def test_only_the_mask_is_changed(trained: SinGAN, picture: Pixels) -> None:
    x = to_float(picture)
    mask = torch.zeros(1, 1, 20, 24)
    mask[:, :, 5:9, 4:11] = 1
    whole, part = (inject(trained, x, 1, stream(0, "noise"), mask=m) for m in (None, mask))
    there = mask.expand_as(x) > 0
    assert torch.equal(part[~there], x[~there]) and torch.allclose(part[there], whole[there], atol=1e-6)


def test_a_painting_takes_the_exemplars_colours(trained: SinGAN) -> None:
    """With a generator that adds nothing what enters comes out: one of two colours that the exemplar has."""
    entered: list[Images] = []
    hook = trained.pyramid.generators[1].register_forward_pre_hook(lambda module, told: entered.append(told[1]))
    paint = torch.linspace(-1, 1, 24).expand(1, 3, 20, 24)
    inject(trained, paint, 1, stream(0, "noise"), colours=2)
    inject(trained, paint, 1, stream(0, "noise"))
    hook.remove()
    levels = [x[0, :, :, [0, -1]].mean((0, 1)) for x in entered]
    exemplar = trained.pyramid.exemplar
    assert float(exemplar.min()) - 0.1 < float(levels[0][0]) < float(levels[0][1]) < float(exemplar.max()) + 0.1
    assert float(levels[1][0]) < -0.8 and float(levels[1][1]) > 0.8


def test_an_enlargement_is_the_exemplar_larger(trained: SinGAN, picture: Pixels) -> None:
    large = enlarge(trained, 2.0)
    assert large.shape == (1, 3, 40, 48)
    assert rmse(F.avg_pool2d(large, 2), to_float(picture)) < 0.15
    assert enlarge(trained, 1.1).shape == (1, 3, 22, 26)
    rows: list[int] = []
    hook = trained.pyramid.generators[0].register_forward_hook(lambda *told: rows.append(told[2].shape[2]))
    enlarge(trained, 4.0)
    hook.remove()
    assert rows == [26, 35, 46, 61, 80], "4 is nearly (4 / 3)^5"
    with pytest.raises(ConfigError, match="above 1"):
        enlarge(trained, 1.0)


def test_motion_begins_with_the_exemplar_and_is_drawn_back(trained: SinGAN) -> None:
    still = trained.reconstruction().clamp(-1, 1)
    frames = animate(trained, 6, stream(0, "walk"))
    assert frames.shape == (6, 3, 20, 24) and torch.equal(frames[:1], still)
    assert all(rmse(a, b) > 1e-3 for a, b in zip(frames, frames[1:], strict=False)), "it moves"
    assert torch.allclose(animate(trained, 3, stream(0), alpha=1.0), still, atol=1e-6), "alpha = 1 stands still"
    assert torch.allclose(animate(trained, 3, stream(0), beta=1.0), still, atol=1e-6), "beta = 1 never sets out"
    far, near = (rmse(animate(trained, 6, stream(0), alpha=a)[-1:], still) for a in (0.1, 0.8))
    assert near < far
    fine = animate(trained, 4, stream(0), first=0)
    assert 0 < rmse(fine[-1:], still) < rmse(animate(trained, 4, stream(0))[-1:], still)


def test_the_walk_is_the_papers(trained: SinGAN) -> None:
    """z of the second and third frame, written out from the draws."""
    seen: list[Tensor] = []
    hook = trained.pyramid.generators[-1].register_forward_pre_hook(lambda module, told: seen.append(told[0].clone()))
    animate(trained, 3, stream(0, "walk"), alpha=0.3, beta=0.6)
    hook.remove()
    rng, star = stream(0, "walk"), trained.pyramid.anchor
    u = [trained.noise(trained.pyramid.sizes, rng)[-1] for _ in range(2)]
    first = 0.3 * star + 0.7 * (star + 0.4 * u[0])
    second = 0.3 * star + 0.7 * (first + 0.6 * (first - star) + 0.4 * u[1])
    for z, wanted in zip(seen, (star, first, second), strict=True):
        torch.testing.assert_close(z, wanted)
