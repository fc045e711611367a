"""Holes in pictures of any size: what is known stays, the fill is joined to it and has its fine structure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from sfumato.errors import DataError
from sfumato.maths.push_pull import push_pull
from sfumato.restorers import tiled_fill as tiled
from sfumato.streams import stream

SIZE = (16, 24)
seen: list[tuple[tuple[int, ...], float]] = []


def mean_fill(part: Tensor, unknown: Tensor, number: int) -> Tensor:
    """What is unknown gets the mean of what is known."""
    seen.append((tuple(part.shape), float(unknown.float().mean())))
    x = part.float()
    mean = x[:, ~unknown].mean(1)[:, None, None]
    return torch.where(unknown, mean, x).round().to(torch.uint8)


def noisy(rows: int, columns: int, sigma: float = 1.0) -> Tensor:
    """A sloping picture with fine structure everywhere."""
    noise = torch.randn(3, rows, columns, generator=stream(0, "noisy")).numpy()
    noise = ndimage.gaussian_filter(noise, (0, sigma, sigma))
    slope = np.linspace(60, 190, columns)[None, None] + np.zeros((3, rows, 1))
    return torch.from_numpy(np.clip(slope + 15 * noise / noise.std(), 0, 255)).round().to(torch.uint8)


def hole_of(rows: int, columns: int, *boxes: tuple[int, int, int, int]) -> Tensor:
    hole = torch.zeros(rows, columns, dtype=torch.bool)
    for top, left, tall, wide in boxes:
        hole[top : top + tall, left : left + wide] = True
    return hole


def test_known_pixels_keep_their_bytes_and_holes_are_made_apart() -> None:
    x, hole = noisy(200, 300), hole_of(200, 300, (20, 20, 60, 50), (120, 200, 5, 5), (150, 30, 40, 80))
    seen.clear()
    before = x.clone()
    made, count = tiled.fill_tiled(x, hole, SIZE, mean_fill)
    assert count == 3 == len(seen) and torch.equal(x, before)
    assert torch.equal(made[:, ~hole], x[:, ~hole]) and not torch.equal(made[:, hole], x[:, hole])
    assert all(shape == (3, *SIZE) and 0 < share <= 0.5 for shape, share in seen)


@pytest.mark.parametrize("box", [(0, 0, 30, 30), (170, 0, 30, 300), (0, 270, 200, 30), (199, 299, 1, 1)])
def test_holes_at_borders(box: tuple[int, int, int, int]) -> None:
    x, hole = noisy(200, 300), hole_of(200, 300, box)
    made, _ = tiled.fill_tiled(x, hole, SIZE, mean_fill)
    assert torch.equal(made[:, ~hole], x[:, ~hole])
    gap = (made[:, hole].float().mean(1) - x[:, hole].float().mean(1)).abs()
    assert float(gap.max()) < 45, f"a mean of all that is known is not further off: {gap}"


def test_a_small_hole_is_filled_at_its_own_scale() -> None:
    x, hole = noisy(100, 100), hole_of(100, 100, (40, 50, 8, 8))
    given: list[Tensor] = []

    def answer(part: Tensor, unknown: Tensor, number: int) -> Tensor:
        given.append(part.clone())
        return torch.where(unknown, torch.tensor(7, dtype=torch.uint8), part)

    made, _ = tiled.fill_tiled(x, hole, SIZE, answer)
    assert (made[:, hole] == 7).all(), "nothing is added to what the model says at its own scale"
    assert (
        given[0].shape == (3, *SIZE)
        and (x.unfold(1, 16, 1).unfold(2, 24, 1) == given[0][:, None, None]).all(-1).all(-1).all(0).any()
    )


@pytest.mark.parametrize("sigma", [0.7, 1.5])
def test_the_fill_has_the_fine_structure_of_what_is_around(sigma: float) -> None:
    """Its power above the model's own size is within a factor 2 of the ring's (a plain enlargement has next to none)."""
    x, hole = noisy(320, 480, sigma), hole_of(320, 480, (90, 140, 140, 200))
    made, _ = tiled.fill_tiled(x, hole, SIZE, mean_fill)
    ring = torch.zeros_like(hole)
    ring[50:270, 100:380] = True
    ring &= ~hole
    period = 320 / 16 * 1.5

    def power(image: Tensor, where: Tensor) -> float:
        fine = image.numpy().astype(float)
        fine = fine - ndimage.gaussian_filter(fine, (0, period / 4, period / 4))
        return float((fine[:, where.numpy()] ** 2).mean())

    inner = hole_of(320, 480, (100, 150, 120, 180))
    assert 0.5 < power(made, inner) / power(x, ring) < 2.0
    plain = F.interpolate(F.interpolate(x.float()[None], SIZE, mode="area"), (320, 480), mode="bicubic")[0]
    assert power(plain, inner) / power(x, ring) < 0.1


def test_the_fill_joins_its_surroundings() -> None:
    """A step at the rim of the hole is carried into it."""
    x, hole = noisy(160, 240, 6.0), hole_of(160, 240, (50, 80, 60, 80))

    def bright(part: Tensor, unknown: Tensor, number: int) -> Tensor:
        return torch.where(unknown, (mean_fill(part, unknown, 0).float() + 60).clamp(max=255).to(torch.uint8), part)

    made, _ = tiled.fill_tiled(x, hole, SIZE, bright)
    inside, outside = (made[:, 50:110, column].float().mean(1) for column in (81, 78))
    assert float((inside - outside).abs().max()) < 15
    assert float(made[:, 70:90, 110:130].float().mean() - x[:, 70:90, 110:130].float().mean()) > 25, (
        "the middle is the model's"
    )


def test_a_hole_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="next to nothing is; make less at a time"):
        tiled.fill_tiled(noisy(100, 100), hole_of(100, 100, (2, 2, 97, 97)), SIZE, mean_fill)


def test_near_holes_are_filled_together() -> None:
    near, far = (
        hole_of(200, 300, (50, 50, 20, 20), (50, 75, 20, 20)),
        hole_of(200, 300, (20, 20, 20, 20), (150, 250, 20, 20)),
    )
    assert [len(list(tiled.parts(hole, SIZE))) for hole in (near, far)] == [1, 2]
    for _, window in tiled.parts(far, SIZE):
        assert (
            0 <= window.top
            and window.top + window.rows <= 200
            and 0 <= window.left
            and window.left + window.columns <= 300
        )


def test_push_pull_keeps_what_is_known_and_a_constant() -> None:
    known = (torch.rand(1, 1, 37, 50, generator=stream(0, "known")) < 0.1).float()
    values = torch.randn(1, 2, 37, 50, generator=stream(0, "values"))
    found = push_pull(values, known)
    assert torch.equal(found * known, values * known)
    assert bool(found.isfinite().all()) and float(found.max()) <= float((values * known).max()) + 1e-5
    flat = push_pull(torch.full_like(values, 3.0) * known, known)
    torch.testing.assert_close(flat, torch.full_like(flat, 3.0), atol=1e-5, rtol=0)


def test_an_exact_answer_on_a_smooth_picture_is_hardly_changed() -> None:
    """Fine structure is what the small picture lacks, and not the edge of the hole."""
    y, x = np.mgrid[0:400, 0:400]
    smooth = np.stack([128 + 60 * np.sin(x / 90 + k) * np.cos(y / 110) for k in range(3)])
    picture = torch.from_numpy(smooth).round().to(torch.uint8)
    hole = hole_of(400, 400, (120, 130, 160, 140))
    (_, window), *_ = tiled.parts(hole, (64, 64))
    true = F.interpolate(picture[:, *window.place].float()[None], (64, 64), mode="area")[0].round().to(torch.uint8)
    made, _ = tiled.fill_tiled(picture, hole, (64, 64), lambda part, unknown, number: torch.where(unknown, true, part))
    assert float((made.float() - picture.float()).abs().max()) <= 2


def test_a_small_hole_beside_a_large_one_makes_only_itself() -> None:
    x, hole = noisy(300, 300), hole_of(300, 300, (80, 80, 120, 120), (40, 100, 4, 4))
    hole[138:142, 138:142] = False  # an island of what is known, with a hole in it
    hole[140, 140] = True
    made, count = tiled.fill_tiled(x, hole, SIZE, mean_fill)
    assert count == 2 and torch.equal(made[:, ~hole], x[:, ~hole])
    alone, _ = tiled.fill_tiled(x, hole & ~hole_of(300, 300, (40, 100, 4, 4)), SIZE, mean_fill)
    assert (made[:, 80:200, 80:200].int() - alone[:, 80:200, 80:200].int()).abs().float().mean() < 8


def test_the_window_keeps_the_shape_of_the_model_while_it_can() -> None:
    ((_, window),) = tiled.parts(hole_of(200, 1000, (20, 400, 120, 120)), (64, 64))
    assert (window.rows, window.columns) == (200, 200)
    ((_, window),) = tiled.parts(hole_of(200, 1000, (20, 100, 160, 600)), (64, 64))
    assert (window.rows, window.columns) == (200, 1000), "squeezed: it could not be seen otherwise"
