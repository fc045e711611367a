"""Patch transport. Oracles: POT's exact optimal transport, all permutations, sorting, closed forms of moved laws."""

import builtins
import importlib
import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.errors import CapabilityError, ShapeError
from sfumato.metrics.base import Score
from sfumato.metrics.patch_transport import PatchTransport, places, transport
from sfumato.tasks.base import Observation
from sfumato.tasks.operators import Nothing


def noise(*shape: int, seed: int = 0, low: int = 0, high: int = 256) -> Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def score(made: Tensor, true: Tensor, **settings: Any) -> Score:
    measured = PatchTransport(PatchTransport.Config(**settings))
    operator = Nothing(len(true), (true.shape[-2], true.shape[-1]))
    measured.update(made, true, Observation(torch.empty(len(true), 0), operator, operator.known))
    return measured.compute()


def value(made: Tensor, true: Tensor, **settings: Any) -> float:
    return score(made[None], true[None], **settings).value


def windows(x: np.ndarray, width: int) -> np.ndarray:
    view = np.lib.stride_tricks.sliding_window_view(x, (width, width), axis=(1, 2))
    return view.transpose(1, 2, 0, 3, 4).reshape(-1, x.shape[0] * width**2)


def by_pot(x: np.ndarray, y: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # POT looks for the backends it could use
        ot = importlib.import_module("ot")
    cost = ((x[:, None] - y[None]) ** 2).mean(-1)
    return float(ot.emd2(np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)), cost, numItermax=10**7))


@pytest.mark.parametrize(("n", "d"), [(1, 1), (7, 3), (60, 12), (200, 48)])
def test_transport_is_pot_s(n: int, d: int) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, d)), 2.0 * rng.normal(size=(n, d)) + 1.0
    assert transport(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(by_pot(x, y), rel=1e-9)


def test_transport_is_the_best_of_all_permutations() -> None:
    x, y = noise(6, 5).double(), noise(6, 5, seed=1).double()
    best = min(float((x - y[list(order)]).square().mean()) for order in itertools.permutations(range(6)))
    assert transport(x, y) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize(("channels", "rows", "columns", "width"), [(1, 9, 11, 3), (3, 12, 10, 4), (3, 15, 15, 4)])
def test_one_scale_is_pot_s(channels: int, rows: int, columns: int, width: int) -> None:
    made, true = noise(channels, rows, columns), noise(channels, rows, columns, seed=1, high=128)
    expected = by_pot(*(windows(x.numpy().astype(float), width) for x in (made, true)))
    assert value(made, true, patch=width) == pytest.approx(expected, rel=1e-9)


def test_scales_are_averaged() -> None:
    # 24 x 29 with 3 x 3 patches: 24 and 12 are at least 12, 6 is not.
    made, true = noise(3, 24, 29), noise(3, 24, 29, seed=1, high=128)
    levels = []
    for x in (made, true):
        fine = x.numpy().astype(float)
        levels.append((fine, fine[:, :, :28].reshape(3, 12, 2, 14, 2).mean((2, 4))))
    expected = [by_pot(windows(m, 3), windows(t, 3)) for m, t in zip(*levels, strict=True)]
    whole = score(made[None], true[None], patch=3)
    assert whole.value == pytest.approx(sum(expected) / 2, rel=1e-9) and whole.card["scales"] == 2
    assert value(made, true, patch=3, scales=1) == pytest.approx(expected[0], rel=1e-9)
    assert value(made, true, patch=3, scales=9) == whole.value


def test_one_pixel_patches_are_sorted() -> None:
    # On a line the best matching is the one in order.
    made, true = noise(1, 20, 20), noise(1, 20, 20, seed=1, high=99)
    gap = np.sort(made.numpy().ravel().astype(float)) - np.sort(true.numpy().ravel().astype(float))
    assert value(made, true, patch=1, scales=1) == pytest.approx(float((gap**2).mean()), rel=1e-12)


@pytest.mark.parametrize("shift", [1, 30])
def test_a_law_moved_by_a_constant(shift: int) -> None:
    # W_2^2 of a law and itself moved by c is |c|^2, here shift^2 for each of the values of a patch and at every scale.
    true = noise(3, 64, 64, high=200)
    assert value(true + shift, true) == pytest.approx(shift**2, rel=1e-12)
    red = true.clone()
    red[0] += shift
    assert value(red, true) == pytest.approx(shift**2 / 3, rel=1e-12)


def test_the_same_picture_is_at_zero_and_others_are_below_the_mean_squared_error() -> None:
    true, made = noise(3, 40, 40), noise(3, 40, 40, seed=1)
    assert value(true, true, patches=50) == 0.0
    whole = value(made, true, scales=1, patches=5000)
    view = (windows(made.numpy().astype(float), 4) - windows(true.numpy().astype(float), 4)) ** 2
    assert 0 < whole < float(view.mean())
    assert whole == pytest.approx(value(true, made, scales=1, patches=5000), rel=1e-12)


def test_another_piece_of_a_periodic_texture_is_at_zero() -> None:
    # 20 = 3 periods of 6 and the rest of a patch of 3: every phase is seen equally often, wherever the piece begins.
    texture = noise(3, 6, 6).repeat(1, 6, 6)
    true = texture[:, :20, :20]
    for top, left in ((1, 0), (2, 5), (6, 6)):
        moved = texture[:, top : top + 20, left : left + 20]
        assert value(moved, true, patch=3) == 0.0
    assert value(moved.transpose(1, 2), true, patch=3) > 1.0


def test_sizes_may_differ() -> None:
    # A larger piece of a constant is the same law; of noise, as near as another piece of the same size.
    flat = torch.full((3, 32, 32), 90).byte()
    assert value(torch.full((3, 50, 70), 93).byte(), flat) == 9.0
    true, large, same = noise(3, 32, 32), noise(3, 64, 48, seed=1), noise(3, 32, 32, seed=2)
    dark = noise(3, 64, 48, seed=1, high=128)
    assert value(large, true) == pytest.approx(value(same, true), rel=0.05)
    assert value(dark, true) > 1.3 * value(large, true)
    assert value(large, true) == pytest.approx(value(true, large), rel=1e-12)


def test_places() -> None:
    drawn = places(30, 40, 100, 1)
    assert len(set(drawn.tolist())) == 100 and int(drawn.min()) >= 0 and int(drawn.max()) < 1200
    assert torch.equal(drawn, places(30, 40, 100, 1)) and torch.equal(drawn[:50], places(30, 40, 50, 1))
    assert not torch.equal(drawn, places(30, 40, 100, 2)) and not torch.equal(drawn, places(40, 30, 100, 1))
    assert sorted(places(5, 4, 100, 0).tolist()) == list(range(20))
    state = torch.get_rng_state()
    value(noise(1, 40, 40), noise(1, 40, 40, seed=1), patches=20)
    assert torch.equal(state, torch.get_rng_state())


def test_more_patches_of_one_law_come_nearer() -> None:
    true, made = noise(1, 40, 40), noise(1, 40, 40, seed=1)
    floor = [value(made, true, patch=2, scales=1, patches=k) for k in (20, 200, 1500)]
    assert floor[0] > floor[1] > floor[2] > 0


def test_small_grey_and_wrong_pictures() -> None:
    dot = noise(1, 1, 1)
    assert value(dot, torch.zeros(1, 1, 1).byte(), patch=1) == float(dot) ** 2
    with pytest.raises(ShapeError, match=r"1 x 1 x 1 .*no 4 x 4 patch"):
        value(dot, dot)
    with pytest.raises(ShapeError, match=r"3 x 3 x 9 .*no 4 x 4 patch"):
        value(noise(3, 9, 9), noise(3, 3, 9))
    with pytest.raises(ShapeError, match="two uint8 batches"):
        value(noise(1, 9, 9), noise(3, 9, 9))
    for x, y in ((torch.zeros(3, 2), torch.zeros(4, 2)), (torch.zeros(0, 2), torch.zeros(0, 2)), (dot, dot)):
        with pytest.raises(ShapeError, match="equally many vectors"):
            transport(x, y)


def test_the_card() -> None:
    shown = score(noise(2, 3, 64, 64), noise(2, 3, 64, 64, seed=1), patches=30)
    assert shown.label == "Patch transport (4 x 4)" and shown.unit == "levels squared" and shown.n == 2
    assert shown.card["patch"] == 4 and shown.card["patches_at_most"] == 30 and shown.card["scales"] == 3
    assert shown.card["region"] == "all" and math.isfinite(shown.low or math.nan)


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(CapabilityError, match=r"pip install 'sfumato\[textures\]'"):
        PatchTransport(PatchTransport.Config()).prepare(torch.device("cpu"))
