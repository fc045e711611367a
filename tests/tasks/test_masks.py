"""The mask laws: values, sides, expected shares, and numbers that depend on nothing but the image's own stream."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from sfumato.kinds import build, discover, parse
from sfumato.streams import stream
from sfumato.tasks.inpainting import Inpainting
from sfumato.tasks.masks import Box, MaskLaw, Strokes

LAWS = sorted(discover(MaskLaw))
sizes, seeds = st.integers(8, 64), st.integers(0, 2**31)


def law(name: str, **settings: Any) -> MaskLaw:
    return build(parse(MaskLaw, {"kind": name, **settings}))


def rngs(seed: int, n: int) -> list[torch.Generator]:
    return [stream(seed, "mask", i) for i in range(n)]


def holes(name: str, seed: int, n: int, size: int, **settings: Any) -> Tensor:
    return 1 - law(name, **settings).known(rngs(seed, n), n, (size, size))[:, 0]


def sides(hole: Tensor) -> tuple[int, int]:
    rows, columns = hole.any(1).nonzero()[:, 0], hole.any(0).nonzero()[:, 0]
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


@pytest.mark.parametrize("name", LAWS)
@settings(max_examples=15, deadline=None)
@given(size=sizes, seed=seeds)
def test_masks_are_zeros_and_ones(name: str, size: int, seed: int) -> None:
    known = law(name).known(rngs(seed, 3), 3, (size, size))
    assert known.shape == (3, 1, size, size) and known.dtype == torch.float32
    assert set(known.unique().tolist()) <= {0.0, 1.0}
    assert 0 < float(known.mean()) < 1


@settings(max_examples=40, deadline=None)
@given(size=sizes, seed=seeds)
def test_box_sides_are_within_the_law(size: int, seed: int) -> None:
    for hole in holes("box", seed, 8, size):
        height, width = sides(hole)
        assert int(hole.sum()) == height * width  # one full box, not cut off by a border
        assert round(size / 8) <= min(height, width) and max(height, width) <= round(size / 2)


def test_box_reaches_both_ends_of_its_range_and_every_border() -> None:
    made = [sides(hole) for hole in holes("box", 0, 400, 16)]
    assert {h for h, _ in made} == set(range(2, 9)) == {w for _, w in made}
    edges = holes("box", 0, 400, 16).sum(0)
    assert float(edges[0].sum()) > 0 and float(edges[-1].sum()) > 0
    assert float(edges[:, 0].sum()) > 0 and float(edges[:, -1].sum()) > 0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 31, 64, 255])
def test_box_at_the_ends_of_the_uniform_law(size: int) -> None:
    last = 1 - 2.0**-24  # the largest number that torch.rand draws
    u = torch.tensor([[a, b, c, d] for a in (0, last) for b in (0, last) for c in (0, last) for d in (0, last)])
    for hole in Box(Box.Config()).hole(u, (size, size)):
        height, width = sides(hole)
        assert int(hole.sum()) == height * width
        assert max(round(size / 8), 1) <= min(height, width)
        assert max(height, width) <= max(round(size / 2), 1)


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("box", {}, (sum(range(4, 17)) / 13 / 32) ** 2),  # sides 4..16 of 32, height and width independent
        ("box", {"smallest": 0.25, "largest": 0.25}, 1 / 16),
        ("centre", {}, 0.25),
        ("centre", {"fraction": 0.5625}, 0.5625),
        ("half", {}, 0.5),
        ("half", {"fraction": 0.25}, 0.25),
        ("pixels", {}, 0.5),
        ("pixels", {"fraction": 0.9}, 0.9),
    ],
)
def test_expected_share(name: str, settings: dict[str, float], expected: float) -> None:
    share = holes(name, 1, 500, 32, **settings).mean(dim=(1, 2))
    assert float(share.mean()) == pytest.approx(expected, abs=4 * float(share.std()) / math.sqrt(500) + 1e-6)


@settings(max_examples=40, deadline=None)
@given(size=sizes, seed=seeds, fraction=st.floats(0.02, 0.5))
def test_strokes_cover_their_share_within_a_dab(size: int, seed: int, fraction: float) -> None:
    radius = max(size / 14, 0.75)
    dab = math.pi * (radius + 0.71) ** 2  # no disc covers more pixel centres than that
    for hole in holes("strokes", seed, 2, size, fraction=fraction):
        wanted = max(round(fraction * size * size), 1)
        assert wanted <= int(hole.sum()) <= wanted + dab


def test_strokes_never_leave_the_image_unmarked() -> None:
    tiny = Strokes(Strokes.Config(fraction=0.001))
    assert ((1 - tiny.known(rngs(0, 50), 50, (8, 8))).sum(dim=(1, 2, 3)) >= 1).all()


def test_centre_is_centred() -> None:
    (hole,) = holes("centre", 0, 1, 16)
    assert torch.equal(hole, hole.flip(0)) and torch.equal(hole, hole.flip(1)) and hole[4:12, 4:12].all()


def test_half_takes_each_side() -> None:
    found = {tuple(hole[[0, -1, 7, 7], [7, 7, 0, -1]].tolist()) for hole in holes("half", 0, 60, 16)}
    # top, bottom, left, right: one of them gone; the two other sides' middles lie just inside or outside the half.
    assert len(found) == 4


def test_pixels_are_independent() -> None:
    hole = holes("pixels", 3, 400, 8).flatten(1)
    correlation = torch.corrcoef(hole.T) - torch.eye(64)
    assert float(correlation.abs().max()) < 0.25


@pytest.mark.parametrize("name", LAWS)
def test_masks_do_not_depend_on_the_batch(name: str) -> None:
    together = law(name).known(rngs(5, 6), 6, (16, 16))
    apart = torch.cat([law(name).known([stream(5, "mask", i)], 1, (16, 16)) for i in range(6)])
    assert torch.equal(together, apart)


@pytest.mark.parametrize("name", ["box", "half", "pixels", "strokes"])
def test_masks_differ_between_images_and_seeds(name: str) -> None:
    one, two = holes(name, 0, 20, 16), holes(name, 1, 20, 16)
    assert not torch.equal(one, two) and not (one == one[0]).all()


@pytest.mark.parametrize("name", ["box", "pixels", "strokes"])
def test_one_generator_for_a_batch_has_the_same_law(name: str) -> None:
    n = 1000
    batch = 1 - law(name).known(stream(0, "mask"), n, (16, 16))[:, 0]
    single = holes(name, 0, n, 16)
    assert batch.shape == single.shape and not torch.equal(batch, single)
    a, b = batch.mean(dim=(1, 2)), single.mean(dim=(1, 2))
    error = math.sqrt(float(a.var() + b.var()) / n)
    assert float(a.mean()) == pytest.approx(float(b.mean()), abs=4 * error)
    assert float(a.std()) == pytest.approx(float(b.std()), rel=0.15)
    # Where the holes lie, pixel by pixel.
    assert float((batch.mean(0) - single.mean(0)).abs().max()) < 5 * math.sqrt(0.5 / n)


def test_sides_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="swap them"):
        Box.Config(smallest=0.6, largest=0.5)


@pytest.mark.parametrize(("mask", "name"), [("box", "inpainting"), ("strokes", "inpainting-strokes")])
def test_a_task_names_its_law(mask: str, name: str) -> None:
    assert build(Inpainting.Config(mask=mask)).name == name


# Images that are not square

WIDE = (24, 40)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("size", [(24, 40), (40, 24), (8, 31)])
def test_masks_of_images_that_are_not_square(name: str, size: tuple[int, int]) -> None:
    known = law(name).known(rngs(2, 6), 6, size)
    assert known.shape == (6, 1, *size) and known.dtype == torch.float32
    assert set(known.unique().tolist()) == {0.0, 1.0}
    assert all(0 < float(one.mean()) < 1 for one in known)
    apart = torch.cat([law(name).known([stream(2, "mask", i)], 1, size) for i in range(6)])
    assert torch.equal(known, apart)
    assert law(name).known(stream(2, "mask"), 6, size).shape == known.shape


def test_a_box_has_its_law_on_each_side() -> None:
    made = 1 - law("box").known(rngs(0, 600), 600, WIDE)[:, 0]
    found = [sides(hole) for hole in made]
    assert all(int(hole.sum()) == height * width for hole, (height, width) in zip(made, found, strict=True))
    assert {height for height, _ in found} == set(range(3, 13)) and {width for _, width in found} == set(range(5, 21))
    edges = made.sum(0)
    assert all(float(edge.sum()) > 0 for edge in (edges[0], edges[-1], edges[:, 0], edges[:, -1]))


def test_the_centre_has_the_shape_of_the_image() -> None:
    hole = 1 - law("centre").known(rngs(0, 1), 1, WIDE)[0, 0]
    expected = torch.zeros(WIDE)
    expected[6:18, 10:30] = 1
    assert torch.equal(hole, expected)


def test_a_half_is_one_of_four_sides() -> None:
    made = 1 - law("half", fraction=0.25).known(rngs(0, 60), 60, WIDE)[:, 0]
    expected = [torch.zeros(WIDE) for _ in range(4)]
    expected[0][:, :10], expected[1][:, 30:], expected[2][:6], expected[3][18:] = 1, 1, 1, 1
    assert {hole.numpy().tobytes() for hole in made} == {hole.numpy().tobytes() for hole in expected}


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.4])
def test_strokes_cover_their_share_of_a_wide_image_everywhere(fraction: float) -> None:
    made = 1 - law("strokes", fraction=fraction).known(rngs(0, 200), 200, WIDE)[:, 0]
    wanted, dab = round(fraction * 24 * 40), math.pi * (24 / 14 + 0.71) ** 2
    assert all(wanted <= int(hole.sum()) <= wanted + dab for hole in made)
    touched = made.mean(0)
    assert float(touched.min()) > 0  # no rows or columns are out of reach
    thirds = torch.stack([touched[:, :13].mean(), touched[:, 13:27].mean(), touched[:, 27:].mean()])
    assert float(thirds.max() / thirds.min()) < 1.6


def test_pixels_are_lost_at_their_rate_everywhere() -> None:
    made = 1 - law("pixels", fraction=0.3).known(rngs(0, 400), 400, WIDE)[:, 0]
    assert float((made.mean(0) - 0.3).abs().max()) < 5 * math.sqrt(0.21 / 400)


@pytest.mark.parametrize("size", [(16, 256), (96, 24), (32, 32)])
def test_strokes_reach_their_share_on_images_of_any_shape(size: tuple[int, int]) -> None:
    task = Inpainting(Inpainting.Config(mask=Strokes.Config(fraction=0.4)))
    hole = 1 - task.operator(rngs(0, 16), 16, size).known.mean((1, 2, 3))
    assert float(hole.min()) > 0.399 and float(hole.max()) < 0.55


@pytest.mark.parametrize(
    ("fraction", "radius"), [(0.25, 0.005), (0.75, 1 / 14), (0.9, 1 / 14), (0.97, 0.02), (1.0, 0.1)]
)
def test_strokes_reach_any_share_with_any_brush(fraction: float, radius: float) -> None:
    task = Inpainting(Inpainting.Config(mask=Strokes.Config(fraction=fraction, radius=radius)))
    hole = 1 - task.operator(rngs(0, 8), 8, (64, 64)).known.mean((1, 2, 3))
    dab = math.pi * max(64 * radius, 0.75) ** 2 / 64**2
    assert float(hole.min()) > fraction - 1e-3 and float(hole.max()) < fraction + dab + 0.01


def test_a_person_has_its_height_and_stands_apart_from_a_box() -> None:
    made = holes("person", 0, 400, 64, smallest=0.5, largest=0.5)
    inside = [hole for hole in made if not hole[0].any() and not hole[-1].any() and not hole[:, [0, -1]].any()]
    assert len(inside) > 100
    heights, widths = zip(*map(sides, inside), strict=True)
    assert min(heights) >= 30 and max(heights) <= 34 and max(widths) < 30
    filled = [float(hole.sum()) / math.prod(sides(hole)) for hole in inside]
    assert 0.3 < min(filled) and max(filled) < 0.95, "limbs leave room between them"
    upper, lower = (
        torch.stack(inside)[:, :, :].sum(2).float()[:, part].amax() for part in (slice(0, 32), slice(32, 64))
    )
    assert upper > 0 and lower > 0
    assert float(torch.stack(list(made)).mean((1, 2)).min()) > 0, "none is outside"
