"""Nearest neighbours and balls. Oracles: scikit-learn's tree, and all pairs in float64."""

from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from sfumato.errors import DivergedError, ShapeError
from sfumato.maths.neighbours import nearest, supported
from sfumato.streams import stream


def normal(n: int, d: int, *name: str | int) -> Tensor:
    return torch.randn(n, d, generator=stream(0, "neighbours", *name), dtype=torch.float64)


def pairs(x: Tensor, y: Tensor) -> Tensor:
    """Every distance, by differences and not by products, in float64."""
    return torch.stack([(row - y.double()).square().sum(1).sqrt() for row in x.double()])


def others(x: Tensor) -> Tensor:
    return pairs(x, x).fill_diagonal_(torch.inf)


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("d", [1, 3, 40])
@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scikit_learn(d: int, k: int, dtype: torch.dtype) -> None:
    x, y = normal(70, d, "x").to(dtype), normal(50, d, "y").to(dtype)
    tree = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(y.double().numpy())
    distance, index = (torch.from_numpy(part) for part in tree.kneighbors(x.double().numpy()))
    found = nearest(x, y, k)
    same(found.distance, distance)
    assert torch.equal(found.index, index)
    alone, index = (torch.from_numpy(part) for part in tree.kneighbors())  # without itself
    found = nearest(y, k=k)
    same(found.distance, alone)
    assert torch.equal(found.index, index)


@pytest.mark.parametrize("n", [1023, 1024, 1025])
def test_ends_of_blocks(n: int) -> None:
    x, y = normal(n, 3, "x").float(), normal(n + 1, 3, "y").float()
    table = pairs(x, y)
    same(nearest(x, y, 2).distance, table.sort(1).values[:, :2])
    radii = nearest(y, k=2).distance
    same(radii, others(y).sort(1).values[:, :2])
    for place, found in enumerate(supported(x, y, radii)):
        inside = table <= radii[:, place]
        assert torch.equal(found.covering, inside.sum(1)) and torch.equal(found.reached, inside.any(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_large_common_offset(offset: float, dtype: torch.dtype) -> None:
    x, y = (normal(60, 5, "x") + offset).to(dtype), (normal(80, 5, "y") + offset).to(dtype)
    same(nearest(x, y, 4).distance, pairs(x, y).sort(1).values[:, :4])
    (found,) = supported(x, y, nearest(y, k=3).distance[:, 2])
    inside = pairs(x, y) <= others(y).sort(1).values[:, 2]
    assert torch.equal(found.covering, inside.sum(1)) and torch.equal(found.reached, inside.any(0))


@pytest.mark.parametrize("offset", [1e2, 1e4])
def test_clusters_far_apart(offset: float) -> None:
    # No centre is near all of them, so float32 products cannot tell neighbours within a cluster apart: they must not decide.
    x = (normal(100, 8, "x") + torch.tensor([-offset, offset]).repeat_interleave(50)[:, None]).float()
    same(nearest(x, k=3).distance, others(x).sort(1).values[:, :3])


@pytest.mark.parametrize("noise", [1e-3, 1e-4])
def test_many_near_copies_of_a_few_images(noise: float) -> None:
    copies = normal(5, 64, "x").abs().repeat_interleave(30, 0) * (1 + noise * normal(150, 64, "noise"))
    same(nearest(copies.float(), k=3).distance, others(copies.float()).sort(1).values[:, :3])


def test_neighbours_that_float32_cannot_order() -> None:
    # Two hundred points on a line at 1, 1 + 1e-9, 1 + 2e-9, ..., in any order.
    rank = torch.randperm(200, generator=stream(0, "near ties")).double()
    found = nearest(torch.zeros(1, 2).double(), torch.stack([1 + 1e-9 * rank, 0 * rank], 1), k=3)
    assert rank[found.index[0]].tolist() == [0, 1, 2]


@pytest.mark.parametrize("rank", list(permutations(range(3))))
def test_the_nearest_few_that_float32_cannot_order(rank: tuple[int, ...]) -> None:
    near = torch.stack([1 + 1e-9 * torch.tensor(rank).double(), torch.zeros(3)], 1)
    found = nearest(torch.zeros(1, 2).double(), torch.cat([near, normal(20, 2, "far") + 10]), k=3)
    assert [rank[place] for place in found.index[0].tolist()] == [0, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_ball_holds_the_neighbour_that_gave_its_radius(k: int, offset: float, dtype: torch.dtype) -> None:
    x = (normal(90, 6, "x") + offset).to(dtype)
    (found,) = supported(x, x, nearest(x, k=k).distance[:, k - 1])
    assert int(found.covering.sum()) == 90 * (k + 1)  # k neighbours and its own centre
    assert bool(found.reached.all())


def test_the_edge_of_a_ball_belongs_to_it_and_nothing_beyond_does() -> None:
    points = torch.tensor([[3.0, 4.0], [3.0, 4.0 + 1e-5], [0.0, 0.0]], dtype=torch.float64)
    (found,) = supported(points, torch.zeros(1, 2).double(), torch.tensor([5.0]).double())
    assert found.covering.tolist() == [1, 0, 1]
    assert found.reached.tolist() == [True]


def test_several_radii_at_once() -> None:
    x, y, radii = normal(20, 3, "x"), normal(30, 3, "y"), normal(30, 2, "radii").abs()
    both = supported(x, y, radii)
    for place, one in enumerate(both):
        (alone,) = supported(x, y, radii[:, place])
        assert torch.equal(one.covering, alone.covering) and torch.equal(one.reached, alone.reached)
    assert not torch.equal(both[0].covering, both[1].covering)


def test_duplicates_are_neighbours_of_each_other() -> None:
    x = torch.cat([normal(10, 4, "x")] * 3)
    found = nearest(x, k=3)
    assert bool((found.distance[:, :2] == 0).all()) and bool((found.distance[:, 2] > 0).all())
    assert bool((found.index != torch.arange(30)[:, None]).all())  # never itself
    assert bool((found.index[:, :2] % 10 == (torch.arange(30) % 10)[:, None]).all())


def test_constants() -> None:
    x = torch.full((40, 7), 0.1)
    assert bool((nearest(x, k=39).distance == 0).all())
    (found,) = supported(x, x, torch.zeros(40).double())
    assert found.covering.tolist() == [40] * 40


def test_as_many_neighbours_as_there_are() -> None:
    x = normal(12, 3, "x")
    found = nearest(x, k=11)
    same(found.distance, others(x).sort(1).values[:, :11])
    assert all(sorted([*row, i]) == list(range(12)) for i, row in enumerate(found.index.tolist()))
    same(nearest(x[:5], x, 12).distance, pairs(x[:5], x).sort(1).values)


@pytest.mark.parametrize(("k", "candidates"), [(12, False), (13, True), (0, True), (-1, False)])
def test_too_many_or_no_neighbours(k: int, candidates: bool) -> None:
    x = normal(12, 3, "x")
    with pytest.raises(ShapeError, match=f"{k} neighbours"):
        nearest(x, x if candidates else None, k)


def test_what_does_not_fit() -> None:
    x = normal(4, 3, "x")
    with pytest.raises(ShapeError, match="one width"):
        nearest(x, x[:, :2])
    with pytest.raises(ShapeError, match="one width"):
        nearest(x[:0], x)
    with pytest.raises(ShapeError, match="5 radii for 4 centres"):
        supported(x, x, torch.ones(5).double())
    wrong = x.clone()
    wrong[1, 1] = torch.nan
    for one, two in ((x, wrong), (wrong, x)):
        with pytest.raises(DivergedError, match="1 of 12"):
            nearest(one, two)
        with pytest.raises(DivergedError, match="1 of 12"):
            supported(one, two, torch.ones(4).double())


def test_all_pairs_agree_on_a_grid_full_of_ties() -> None:
    x = torch.from_numpy(np.stack(np.meshgrid(*[np.arange(5.0)] * 3), -1).reshape(-1, 3))
    same(nearest(x, k=9).distance, others(x).sort(1).values[:, :9])
    for radius in (1.0, 2**0.5, 3**0.5, 2.0):
        (found,) = supported(x, x, torch.full((125,), radius, dtype=torch.float64))
        inside = (2 * pairs(x, x).square()).round() <= round(2 * radius**2)
        assert torch.equal(found.covering, inside.sum(1))


def test_more_unsure_queries_than_candidates() -> None:
    far = torch.tensor([-1e4, 1e4])[:, None]  # as in `test_clusters_far_apart`, where float32 cannot decide
    near = (normal(20, 8, "near") + far.repeat_interleave(10, 0)).float()
    queries = (normal(60, 8, "queries") + far.repeat_interleave(30, 0)).float()
    same(nearest(queries, near, 2).distance, pairs(queries, near).sort(1).values[:, :2])


def test_the_caller_s_autocast_does_not_matter() -> None:
    x, y = normal(50, 40, "x").float(), normal(60, 40, "y").float()
    radii = nearest(y, k=2).distance
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest(y, k=2).distance, radii)
        within_autocast = supported(x, y, radii)
    for one, two in zip(supported(x, y, radii), within_autocast, strict=True):
        assert torch.equal(one.covering, two.covering)
