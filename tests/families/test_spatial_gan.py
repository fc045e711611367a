"""Spatial GANs: what the losses are, that a plane is one picture however it is cut, and that colours are learnt."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sfumato.families.spatial_gan as engine
from sfumato.data.base import DataSpec, Split
from sfumato.errors import CapabilityError, ConfigError
from sfumato.families.base import Batch, Family
from sfumato.families.psgan import PSGAN
from sfumato.families.sgan import SGAN
from sfumato.families.spatial_gan import SpatialGAN
from sfumato.images import Pixels, to_float
from sfumato.kinds import parse
from sfumato.maths.regions import Box
from sfumato.networks.condition import NOTHING
from sfumato.networks.spatial import SpatialGenerator
from sfumato.streams import stream
from sfumato.tasks.generation import Generation
from sfumato.testing import check_family
from sfumato.testing.parts import GREY
from sfumato.training.budget import Budget
from sfumato.training.loader import Loader
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer

SMALL: dict[str, Any] = {"width": 4, "depth": 3, "crop": 32, "crops": 2, "turns": 3}


def pixels(size: tuple[int, int] = (56, 64), channels: int = 3, n: int = 1) -> Pixels:
    return torch.randint(60, 200, (n, channels, *size), generator=stream(0, "pixels"), dtype=torch.uint8)


def made(kind: str = "psgan", x: Pixels | None = None, known: Tensor | None = None, **settings: Any) -> SpatialGAN:
    """A family that has read its exemplar and was not trained."""
    x = pixels() if x is None else x
    spec = DataSpec(channels=x.shape[1], size=(x.shape[2], x.shape[3]))
    family = make_family(parse(Family, {"kind": kind, **SMALL, **settings}), spec, 0)
    assert isinstance(family, SpatialGAN)
    for _ in family.fit(family.stages()[0], Loader(Split(x, known=known), 1)):
        pass
    return family


def lively(kind: str, **settings: Any) -> SpatialGAN:
    """One whose pictures have contrast, as trained ones have, so that what differs is seen to differ."""
    family = made(kind, **settings)
    for i in range(40):
        family.made(stream(0, "warm", i))
    with torch.no_grad():
        family.generator.layers[-2].weight *= 10  # type: ignore
    assert float(family.sample(1, rng=stream(0, "look")).std()) > 0.1
    return family


def batch(x: Pixels, *names: str) -> Batch:
    images = to_float(x)
    return Batch(images, Generation(Generation.Config()).observe(images, stream(0)), NOTHING, stream(0, "turn", *names))


@pytest.mark.parametrize("kind", ["sgan", "psgan"])
def test_contract(kind: str) -> None:
    check_family(kind, GREY)


class Brightness(nn.Module):
    """A critic with a known answer: the mean of each 8 x 8 pixels, times a number."""

    def __init__(self, times: float):
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        return self.times * F.avg_pool2d(x.mean(1, keepdim=True), 8)


@pytest.mark.parametrize("times", [1.0, -3.0])
def test_the_loss_is_the_mean_over_positions(times: float) -> None:
    family, x = made(), pixels()
    family.critic = Brightness(times)
    told, first = family.critic_loss(batch(x)), batch(x).rng
    real, fake = family.crops(first), family.made(first).detach()

    def mean(x: Tensor, sign: float) -> float:
        """Of log(1 + e^(sign score)) over images and squares, written out."""
        squares = [part.mean() for image in x for row in image.split(8, 1) for part in row.split(8, 2)]
        return sum(math.log1p(math.exp(sign * times * float(square))) for square in squares) / len(squares)

    assert float(told["real"]) == pytest.approx(mean(real, -1), rel=1e-5)
    assert float(told["made"]) == pytest.approx(mean(fake, 1), rel=1e-5)
    fooled = family.generator_loss(batch(x, "g"))["adversarial"].detach()
    assert float(fooled) == pytest.approx(mean(family.made(batch(x, "g").rng).detach(), -1), rel=1e-5)
    assert float(told["real"]) != pytest.approx(mean(real, 1), rel=1e-3), "the sign matters"


def test_a_generator_goes_where_the_critic_points() -> None:
    """With a critic that likes it bright pictures get brighter, with the opposite one darker."""
    changes = []
    for times in (30.0, -30.0):
        family = made("sgan")
        family.critic = Brightness(times)
        before = family.made(stream(0, "look")).mean()
        loss = family.generator_loss(batch(pixels()))["adversarial"]
        weights = family.players(family.stages()[0])[1].weights
        with torch.no_grad():
            for weight, slope in zip(weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
                weight -= 0.1 * slope if slope is not None else 0.0
        changes.append(float((family.made(stream(0, "look")).mean() - before).detach()))
    assert changes[0] > 0.003 and changes[1] < -0.003, changes


def test_penalties_look_at_an_images_mean_score() -> None:
    family = made(penalties=["gradient_penalty"], game="wasserstein")
    family.critic = Brightness(1.0)
    # the slope of the mean of 3 x 32 x 32 numbers has the length 1 / sqrt(3 32 32)
    wanted = 10 * (1 / math.sqrt(3 * 32 * 32) - 1) ** 2
    assert float(family.critic_loss(batch(pixels()))["penalty"].detach()) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(("game", "positions"), [("began", 32 * 32), ("relativistic", 16)])
def test_other_games(game: str, positions: int) -> None:
    family = made(game=game)
    assert family.scores(family.crops(stream(0))).shape == (2, positions)
    assert all(
        term.isfinite()
        for term in {**family.critic_loss(batch(pixels())), **family.generator_loss(batch(pixels()))}.values()
    )


def test_noise_is_local_global_and_periodic() -> None:
    family = made(global_channels=5, periodic_channels=2, local_channels=4)
    seen: list[Tensor] = []

    def look(module: nn.Module, told: Any) -> None:
        seen.append(told[0].detach())

    family.generator.register_forward_pre_hook(look)
    family.made(stream(0, "a"))
    family.block(0, 0, 1, None)
    family.block(0, 0, 2, None)
    for field in seen:
        local, shared, periodic = field.split([4, 5, 2], 1)
        assert float(local.std()) == pytest.approx(1 / math.sqrt(3), rel=0.2) and float(local.abs().max()) <= 1
        assert torch.equal(shared, shared[:, :, :1, :1].expand_as(shared))
        k = family.field.numbers + family.field.told(shared[:, :, 0, 0]).view(-1, 2, 2)  # type: ignore
        # sin(a + k) + sin(a - k) = 2 cos(k) sin(a), along both axes
        for axis in (0, 1):
            n = periodic.shape[2 + axis]
            pairs = periodic.narrow(2 + axis, 2, n - 2) + periodic.narrow(2 + axis, 0, n - 2)
            middle = periodic.narrow(2 + axis, 1, n - 2)
            torch.testing.assert_close(pairs, 2 * k[:, :, axis, None, None].cos() * middle, atol=1e-4, rtol=0)
    for part in zip(*(field.split([4, 5, 2], 1) for field in seen[1:]), strict=True):
        assert not torch.allclose(*part, atol=0.05), "another seed, another field"
    assert not torch.allclose(seen[0][0], seen[0][1], atol=0.05), "another picture, another field"


def test_a_period_holds_whole_waves() -> None:
    """Also where the picture meets itself, waves go on: sin(a + k) + sin(a - k) = 2 cos(k) sin(a), k a multiple of 2 pi / n."""
    family, seen, n = made(local_channels=1), [], 12
    hook = family.generator.register_forward_pre_hook(lambda module, told: seen.append(told[0][:, 1:]))
    family.block(0, 0, 1, (n * family.grain, n * family.grain))
    hook.remove()
    turns = (family.field.numbers * n / (2 * math.pi)).round()  # type: ignore
    for axis in (0, 1):
        rows = seen[0].movedim(2 + axis, 2)
        k = 2 * math.pi * turns[:, axis].view(1, -1, 1, 1) / n
        torch.testing.assert_close(rows[:, :, 2:] + rows[:, :, :-2], 2 * k.cos() * rows[:, :, 1:-1], atol=1e-4, rtol=0)
        assert torch.equal(rows[:, :, n:], rows[:, :, :-n])


def test_each_picture_has_phases_of_its_own() -> None:
    """With no global part waves differ in nothing else; all phases come, evenly."""
    family, seen = made(local_channels=1, crops=200), []
    family.generator.register_forward_pre_hook(lambda module, told: seen.append(told[0][:, 1:].detach()))
    family.made(stream(0))
    start = seen.pop()[:, :, 0, 0]
    assert float(start.mean().abs()) < 0.15 and float(start.square().mean()) == pytest.approx(0.5, abs=0.08)
    for seed in (1, 2):
        family.block(0, 0, seed, None)
    assert not torch.allclose(seen[0], seen[1], atol=0.1)


def test_no_part_of_the_noise_is_ignored() -> None:
    family = made(global_channels=5, periodic_channels=2, local_channels=4).eval()
    field = torch.zeros(1, 11, 4, 4)
    plain = family.generator(field)
    for channel in range(11):
        changed = field.clone()
        changed[:, channel, 1, 1] = 1.0
        assert not torch.allclose(family.generator(changed), plain, atol=1e-6), channel


@pytest.mark.parametrize("kind", ["sgan", "psgan"])
def test_a_plane_is_the_same_however_it_is_cut(kind: str) -> None:
    family = lively(kind, **({"global_channels": 4} if kind == "psgan" else {}))
    whole = family.window(Box(-70, -300, 400, 380), seed=3)
    boxes = [
        Box(-70, -300, 1, 380),
        Box(-1, -1, 2, 2),
        Box(100, -290, 230, 301),
        Box(250, -257, 9, 3),
        Box(7, 7, 20, 20),
    ]
    for box in boxes:
        inside = whole[(..., *box.within(Box(-70, -300, 400, 380)).place)]
        assert torch.equal(family.window(box, seed=3), inside), box
    assert not torch.allclose(family.window(boxes[4], seed=4), family.window(boxes[4], seed=3), atol=1e-4)
    assert family.training, "looking at it changes nothing"


@pytest.mark.parametrize(("margin", "enough"), [(5, True), (1, False)])
def test_zeros_beyond_the_field_are_not_seen(margin: int, enough: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    family = lively("psgan", depth=5, crop=64, x=pixels((64, 64)))
    block = family.block(0, -1, 3, None)
    monkeypatch.setattr(engine, "MARGIN", margin)
    assert torch.allclose(family.block(0, -1, 3, None), block, atol=1e-4) == enough


@pytest.mark.parametrize("kind", ["sgan", "psgan"])
def test_a_periodic_picture_meets_itself(kind: str) -> None:
    family = lively(kind)
    rows, columns = 5 * family.grain, 7 * family.grain
    tile = family.window(Box(0, 0, rows, columns), seed=1, period=(rows, columns))
    around = family.window(Box(-rows, 0, 3 * rows, 2 * columns), seed=1, period=(rows, columns))
    torch.testing.assert_close(around, tile.repeat(1, 1, 3, 2), atol=1e-5, rtol=0)
    free = family.window(Box(0, 0, 2 * rows, 2 * columns), seed=1)
    assert not torch.allclose(free[:, :, :rows], free[:, :, rows:], atol=1e-2)
    side = family.side
    again = family.window(Box(side, -side, 30, 30), seed=1, period=(side, side))
    assert torch.equal(again, family.window(Box(0, 0, 30, 30), seed=1, period=(side, side)))
    with pytest.raises(CapabilityError, match="multiples of 8"):
        family.window(Box(0, 0, 9, 9), seed=1, period=(rows + 1, columns))


def test_only_what_counts_is_seen() -> None:
    x, known = pixels((48, 48)), torch.zeros(1, 1, 48, 48, dtype=torch.bool)
    known[:, :, 3:31, 5:40] = True
    family = made("sgan", x, known)
    family.exemplars[(family.known == 0).expand_as(family.exemplars)] = math.nan
    assert int(family.cut) == 16, "the largest multiple of 8 in five eighths of what counts"
    seen = torch.cat([family.crops(stream(0, "crop", i)) for i in range(100)])
    assert bool(seen.isfinite().all())
    every = family.corners.nonzero()
    assert every[:, 1].unique().tolist() == list(range(3, 16)) and every[:, 2].unique().tolist() == list(range(5, 25))
    known[:, :, ::15] = False
    with pytest.raises(ConfigError, match="no window of 16 x 16 lies in the mask"):
        made("sgan", x, known)


def test_crops_come_from_all_exemplars() -> None:
    x = torch.cat([torch.full((1, 1, 16, 16), level, dtype=torch.uint8) for level in (0, 100, 200)])
    family = made("sgan", x, pictures=3, crops=64, crop=8)
    levels = family.crops(stream(0)).flatten(1)
    assert torch.equal(levels.amin(1), levels.amax(1)) and len(levels.unique()) == 3


@pytest.mark.parametrize(
    ("size", "depth", "crop"),
    [((256, 256), 5, 128), ((128, 128), 5, 64), ((64, 80), 4, 32), ((48, 200), 3, 24), ((8, 12), 1, 4), ((4, 9), 1, 4)],
)
def test_depth_and_crop_fit_the_exemplar(size: tuple[int, int], depth: int, crop: int) -> None:
    family = made("sgan", pixels(size, 1), depth=5, crop=128)
    assert (family.depth, int(family.cut)) == (depth, crop)
    assert family.made(stream(0)).shape == family.crops(stream(0)).shape == (2, 1, crop, crop)
    assert family.made(stream(0)).shape[2] // 2**depth >= 2


def test_layers_are_the_papers() -> None:
    network = SpatialGenerator(33, 3, width=64, depth=5)
    convolutions = [layer for layer in network.layers if isinstance(layer, nn.ConvTranspose2d)]
    assert [layer.in_channels for layer in convolutions] == [33, 512, 256, 128, 64]
    assert isinstance(network.layers[-1], nn.Tanh) and sum(isinstance(v, nn.BatchNorm2d) for v in network.layers) == 4


def test_it_learns_the_colours_of_noise() -> None:
    """Pixels that are red or blue by a coin: the mean of what is made comes within 0.15 of theirs, in [-1, 1]."""
    coin = torch.rand(1, 1, 32, 32, generator=stream(0, "coin")) < 0.5
    red, blue = (torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1) for colour in ((220, 90, 30), (40, 60, 240)))
    x = torch.where(coin, red, blue)
    spec = DataSpec(channels=3, size=(32, 32))
    config = SGAN.Config(width=16, depth=2, crop=16, turns=150)
    family = make_family(config, spec, 0)
    wanted = to_float(x).mean((0, 2, 3))

    def error() -> float:
        return float((family.sample(2, rng=stream(0, "s")).mean((0, 2, 3)) - wanted).abs().max())

    before = error()
    Trainer(family, Generation(Generation.Config()), Budget(average="none"), seed=0).run(Split(x))
    assert before > 0.3 and error() < 0.15, (before, error())
    spread = family.sample(1, rng=stream(0, "s")).std((0, 2, 3))
    assert bool((spread > 0.3 * to_float(x).std((0, 2, 3))).all()), "pixels differ"


def test_waves_are_learnt() -> None:
    family = made("psgan")
    slope = torch.autograd.grad(family.generator_loss(batch(pixels()))["adversarial"], family.field.numbers)[0]
    assert float(slope.abs().min()) > 0
    groups = family.players(family.stages()[0])[1].groups
    assert [(next(iter(group.weights)) is family.field.numbers, group.rate) for group in groups] == [
        (False, 1.0),
        (True, 10.0),
    ]
    assert PSGAN.Config().periodic_channels == 3 and not list(made("sgan").field.parameters())
