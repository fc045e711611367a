"""The classic textures: cuts against all cuts, pixels that are the exemplar's, patterns that go on, histograms that agree."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import wasserstein_distance
from torch import Tensor

from sfumato.data.base import DataSpec
from sfumato.errors import CapabilityError, ConfigError
from sfumato.families.base import Family
from sfumato.families.efros_leung import rings
from sfumato.families.graph_cut import seam
from sfumato.families.heeger_bergen import matched
from sfumato.families.quilting import Patches, cheapest_path
from sfumato.families.texture import Texture, Wish
from sfumato.kinds import parse
from sfumato.streams import stream
from sfumato.training.run import make_family

COPIES = ["random_patch", "quilting", "graph_cut", "efros_leung"]
JOINED = COPIES[1:]
SETTINGS: dict[str, dict[str, Any]] = {"portilla_simoncelli": {"turns": 8}}
KINDS = [*COPIES, "heeger_bergen", "portilla_simoncelli"]


def model(kind: str, x: Tensor, known: Tensor | None = None, **settings: Any) -> Texture:
    """A family that has read exemplars, as `fit` leaves it."""
    if kind == "portilla_simoncelli":
        pytest.importorskip("plenoptic")
    told = {"kind": kind, "pictures": len(x), **SETTINGS.get(kind, {}), **settings}
    family = make_family(parse(Family, told), DataSpec(channels=x.shape[1], size=(x.shape[2], x.shape[3])), 0)
    assert isinstance(family, Texture)
    family.exemplars.copy_(x)
    family.known.copy_(torch.ones_like(family.known) if known is None else known)
    return family


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=stream(0, "noise", *shape)) * 2 - 1


def blobs(channels: int, side: int) -> Tensor:
    """Smooth noise, skewed, so that its histogram is not that of white noise."""
    field = gaussian_filter(noise(channels, side, side).numpy(), (0, 2, 2), mode="wrap")
    return torch.from_numpy(np.exp(4 * field) / np.exp(4 * field).max() * 1.8 - 0.9)[None]


def colours(x: Tensor) -> set[tuple[float, ...]]:
    return {tuple(one) for one in x.transpose(0, 1).flatten(1).T.tolist()}


def drawn(family: Texture, size: tuple[int, int], seed: int = 0, periodic: bool = False) -> Tensor:
    with torch.no_grad():
        return family.make(Wish(size, periodic), stream(seed, "sample"))


@pytest.mark.parametrize("size", [(2, 2), (4, 3), (5, 4), (6, 1)])
def test_no_path_is_cheaper(size: tuple[int, int]) -> None:
    for seed in range(40):
        error = torch.rand(*size, generator=stream(seed, "error"))
        path = cheapest_path(error).tolist()
        paths = [p for p in itertools.product(range(size[1]), repeat=size[0]) if np.abs(np.diff(p)).max() <= 1]
        costs = [sum(error.numpy()[i, c] for i, c in enumerate(p)) for p in paths]
        assert tuple(path) == paths[int(np.argmin(costs))]


def price(d: np.ndarray, new: np.ndarray) -> float:
    across = ((d[:, 1:] + d[:, :-1]) * (new[:, 1:] != new[:, :-1])).sum()
    return float(across + ((d[1:] + d[:-1]) * (new[1:] != new[:-1])).sum())


def test_no_cut_is_cheaper() -> None:
    old = np.array([[1, 0, 0], [1, 0, 0]], dtype=bool)
    new = np.array([[0, 0, 1], [0, 0, 0]], dtype=bool)
    for seed in range(20):
        d = torch.randint(0, 200, (2, 3), generator=stream(seed, "d")) * (2 / 255)
        cut = seam(d, torch.from_numpy(old), torch.from_numpy(new)).numpy()
        labels = [np.array(bits, dtype=bool).reshape(2, 3) for bits in itertools.product([0, 1], repeat=6)]
        costs = [price(d.numpy(), one) for one in labels if not (one & old).any() and (one | ~new).all()]
        assert not (cut & old).any() and cut[new].all()
        assert price(d.numpy(), cut) == pytest.approx(min(costs), abs=1e-5)


def test_a_cut_is_no_dearer_than_a_straight_one() -> None:
    d = torch.rand(12, 7, generator=stream(0, "d"))
    old, new = torch.zeros(12, 7, dtype=torch.bool), torch.zeros(12, 7, dtype=torch.bool)
    old[:, 0], new[:, -1] = True, True
    straight = [price(d.numpy(), np.arange(7)[None].repeat(12, 0) >= c) for c in range(1, 7)]
    assert price(d.numpy(), seam(d, old, new).numpy()) < min(straight)


def test_errors_of_patches_are_sums_of_squares() -> None:
    x, known = noise(2, 3, 9, 11), torch.ones(2, 1, 9, 11)
    known[1, :, 4, 5] = 0.0
    laid, there = noise(3, 4, 4), (noise(4, 4) > 0).float()
    errors = Patches(x, known, 4).errors(laid, there)
    for k, top, left in itertools.product(range(2), range(6), range(8)):
        patch = x[k, :, top : top + 4, left : left + 4]
        inside = bool(known[k, 0, top : top + 4, left : left + 4].all())
        truth = float(((patch - laid).square() * there).sum()) if inside else float("inf")
        assert float(errors[k, top, left]) == pytest.approx(truth, rel=1e-5)


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("size", [(31, 17), (1, 1), (5, 40)])
def test_pixels_are_the_exemplars(kind: str, size: tuple[int, int]) -> None:
    x = noise(1, 3, 16, 20)
    made = drawn(model(kind, x), size)
    assert made.shape == (1, 3, *size)
    assert colours(made) <= colours(x)


@pytest.mark.parametrize("kind", COPIES)
def test_all_exemplars_are_used(kind: str) -> None:
    x = torch.cat([noise(1, 3, 12, 12), noise(1, 3, 12, 12) * 0.9 + 0.05])
    many = set().union(*(colours(drawn(model(kind, x), (24, 24), seed)) for seed in range(6)))
    assert many & colours(x[:1]) and many & colours(x[1:])


def checkerboard(rows: int, columns: int, square: int) -> Tensor:
    y, x = torch.arange(rows)[:, None] // square, torch.arange(columns) // square
    return ((y + x) % 2 * 1.6 - 0.8)[None, None]


@pytest.mark.parametrize("square", [1, 2, 3])
@pytest.mark.parametrize("kind", JOINED)
def test_a_checkerboard_goes_on(kind: str, square: int) -> None:
    settings: dict[str, Any] = {"quilting": {"patch": 18}, "graph_cut": {"patch": 12}}.get(
        kind, {}
    )  # overlaps show a square
    for seed in range(3):
        made = drawn(model(kind, checkerboard(24, 24, square), **settings), (29, 34), seed)
        shifts = [checkerboard(29 + 6, 34 + 6, square)[..., i : i + 29, j : j + 34] for i in range(6) for j in range(6)]
        assert any(torch.equal(made, shift) for shift in shifts), f"seed {seed}"


def test_random_patches_break_a_checkerboard() -> None:
    made = drawn(model("random_patch", checkerboard(24, 24, 2), patch=7), (29, 34))
    shifts = [checkerboard(33, 38, 2)[..., i : i + 29, j : j + 34] for i in range(4) for j in range(4)]
    assert not any(torch.equal(made, shift) for shift in shifts)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_graph_cut_closes_the_ring(seed: int) -> None:
    made = drawn(model("graph_cut", checkerboard(24, 24, 2), patch=11), (28, 36), seed, periodic=True)
    assert torch.equal(made, -made.roll(2, 2)) and torch.equal(made, -made.roll(2, 3))


def test_the_rings_visit_each_pixel_once_and_batches_do_not_see_one_another() -> None:
    for size in ((1, 1), (9, 9), (8, 12), (3, 31), (40, 37)):
        batches = [batch for _, batch in rings(size, 11, stream(0, "order"))]
        visited = torch.cat([*batches, torch.tensor([[size[0] // 2, size[1] // 2]])])
        assert sorted(map(tuple, visited.tolist())) == list(itertools.product(range(size[0]), range(size[1])))
        for batch in batches:
            apart = (batch[:, None] - batch[None]).abs().amax(2) + 99 * torch.eye(len(batch), dtype=torch.int64)
            assert len(batch) == 1 or int(apart.min()) > 5


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_masked_never_appears(kind: str) -> None:
    x, known = torch.zeros(1, 3, 24, 24), torch.zeros(1, 1, 24, 24)
    x[:, 0, :, :12], x[:, 1, :, 12:] = 0.9, 0.9
    x += 0.05 * noise(1, 3, 24, 24)
    known[..., 12:] = 1.0
    made = drawn(model(kind, x, known), (19, 30))
    assert float(made[:, 0].max()) < 0.3 and float(made[:, 1].min()) > 0.6
    assert float(drawn(model(kind, x, 1 - known), (19, 30))[:, 0].min()) > 0.6, "the mask decides"


@pytest.mark.parametrize("kind", KINDS)
def test_an_equal_stream_gives_equal_bits_and_another_does_not(kind: str) -> None:
    family = model(kind, noise(1, 3, 16, 16))
    one, again, other = (drawn(family, (15, 21), seed) for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_one_colour_stays_one_colour(kind: str) -> None:
    x = torch.tensor([0.5, -0.25, 0.125])[None, :, None, None].expand(1, 3, 8, 8)
    torch.testing.assert_close(drawn(model(kind, x), (9, 13)), x[..., :1, :1].expand(1, 3, 9, 13), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_watch_hears_shares_that_rise_to_one_and_can_stop(kind: str) -> None:
    family, heard = model(kind, noise(1, 1, 16, 16)), list[float]()
    with torch.no_grad():
        family.make(Wish((33, 20), watch=heard.append), stream(0, "sample"))
    assert heard == sorted(heard) and 0 < heard[0] and heard[-1] == 1.0

    def stop(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), torch.no_grad():
        family.make(Wish((33, 20), watch=stop), stream(0, "sample"))


@pytest.mark.parametrize("n", [5, 12, 40])
def test_matched_has_the_quantiles_of_the_other(n: int) -> None:
    x, y = noise(1, n), noise(3, 4).square()
    got = np.sort(matched(x, y).numpy().ravel())
    middles = (np.arange(12) + 0.5) / 12
    np.testing.assert_allclose(got, np.interp((np.arange(n) + 0.5) / n, middles, np.sort(y.numpy().ravel())), atol=1e-6)
    assert bool((matched(x, y)[0, x[0].argsort()].diff() >= 0).all()), "the order stays"


def bands(x: np.ndarray) -> list[np.ndarray]:
    """Differences of Gaussians and slopes: bands that are no pyramid's."""
    smooth = [gaussian_filter(x, s, mode="wrap") for s in (0, 1, 2, 4)]
    return [a - b for a, b in itertools.pairwise(smooth)] + [np.diff(x, axis=axis) for axis in (0, 1)]


def test_histograms_of_heeger_and_bergen_are_the_exemplars() -> None:
    x = blobs(3, 64)
    made = drawn(model("heeger_bergen", x, scales=3), (64, 96), periodic=True)
    for c in range(3):
        true, ours = x[0, c].numpy(), made[0, c].numpy()
        assert abs(true.mean() - ours.mean()) < 0.02 and abs(true.std() - ours.std()) < 0.03
        other = true.mean() + true.std() * np.random.default_rng(0).normal(size=ours.shape)
        for band, near, far in zip(bands(true), bands(ours), bands(other), strict=True):
            close, apart = (wasserstein_distance(band.ravel(), one.ravel()) for one in (near, far))
            assert close < 0.6 * apart


def test_levels_of_heeger_and_bergen_are_the_exemplars() -> None:
    x = blobs(1, 48)
    made = drawn(model("heeger_bergen", x), (48, 48))
    torch.testing.assert_close(made.flatten().sort().values, x.flatten().sort().values, atol=1e-5, rtol=0)


def test_heeger_and_bergen_meet_themselves_at_the_borders() -> None:
    made = drawn(model("heeger_bergen", blobs(1, 64), scales=3), (51, 64), periodic=True)[0, 0]
    for axis in (0, 1):
        steps = (made - made.roll(1, axis)).abs().mean(1 - axis)
        assert float(steps[0]) < 2 * float(steps.mean())


def test_portilla_and_simoncelli_agree_in_correlations() -> None:
    x = blobs(2, 32)
    beside = (x[:, :1].roll(2, 3) + x[:, :1].roll(-2, 3)) / 2  # two colours know of each other at a distance
    x = torch.cat([x, beside], 1)
    made = drawn(model("portilla_simoncelli", x, turns=40), (32, 32), periodic=True)

    def correlations(x: Tensor) -> Tensor:
        x = x[0] - x[0].mean((1, 2), keepdim=True)
        moved = [x.roll(shift, (1, 2)) for shift in ((0, 0), (0, 1), (2, 0), (1, 1), (0, 3))]
        both = torch.stack([torch.einsum("ihw,jhw->ij", x, one) / x[0].numel() for one in moved])
        return both + both.transpose(1, 2)  # what sums of two colours tell

    true = correlations(x)
    assert float((correlations(made) - true).abs().max()) < 0.1 * float(true.max())
    skew = [((one[0] - one.mean()).pow(3).mean() / one.std() ** 3).item() for one in (x, made)]
    assert skew[0] > 0.4 and skew[1] == pytest.approx(skew[0], rel=0.35)


def test_portilla_and_simoncelli_close_only_what_their_grid_divides() -> None:
    family = model("portilla_simoncelli", blobs(1, 32))
    with pytest.raises(CapabilityError, match="multiples of 4"):
        drawn(family, (30, 32), periodic=True)
    assert drawn(family, (30, 33)).shape == (1, 1, 30, 33)
    with pytest.raises(ConfigError, match="the mask leaves 3 x 32"):
        drawn(
            model("portilla_simoncelli", blobs(1, 32), (torch.arange(32) < 3).float()[:, None].expand(32, 32)), (16, 16)
        )


@pytest.mark.parametrize(("kind", "package"), [("graph_cut", "scipy"), ("portilla_simoncelli", "plenoptic")])
def test_what_is_not_installed_is_named(kind: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family = model(kind, noise(1, 1, 16, 16))
    for name in [name for name in sys.modules if name.split(".")[0] == package] + [package]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(CapabilityError, match=r"pip install 'sfumato\["):
        drawn(family, (32, 32))


@pytest.mark.parametrize("kind", KINDS)
def test_a_patch_that_is_too_large_is_made_to_fit(kind: str) -> None:
    settings = {"efros_leung": {"window": 63}, "heeger_bergen": {"scales": 10}, "portilla_simoncelli": {"scales": 8}}
    family = model(kind, noise(1, 1, 8, 9), **settings.get(kind, {"patch": 1024}))
    assert drawn(family, (10, 11)).shape == (1, 1, 10, 11)
