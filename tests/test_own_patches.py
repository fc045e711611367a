"""Holes filled with a picture's own patches: patterns go on without a fault, and what is known stays."""

import numpy as np
import pytest
import torch

from sfumato.kinds import build, parse
from sfumato.maths.regions import Box
from sfumato.restorers.base import Filler, Restorer
from sfumato.restorers.exemplar import Exemplar, around, thickness
from sfumato.restorers.nearest import Nearest
from sfumato.streams import stream
from sfumato.tasks.super_resolution import SuperResolution

OWN = {"exemplar": {}, "criminisi": {}, "texto": {"turns": 60}, "gpdm": {"turns": 15}}


def filler(name: str) -> Filler:
    made: Filler = build(parse(Restorer, {"kind": name, **OWN[name]}))
    return made


def stripes(rows: int = 64, columns: int = 64) -> np.ndarray:
    across = (np.arange(columns) // 4 % 2 * 120 + 60).astype(np.uint8)
    return np.broadcast_to(across[None, :, None], (rows, columns, 3)).copy()


def hole(rows: int = 64, columns: int = 64) -> np.ndarray:
    gone = np.zeros((rows, columns), bool)
    gone[22:40, 25:43] = True
    return gone


@pytest.mark.parametrize("name", ["exemplar", "criminisi"])
def test_stripes_go_on_through_a_hole(name: str) -> None:
    picture, gone = stripes(), hole()
    shown = picture.copy()
    shown[gone] = 7
    made = filler(name).fill(shown, gone)
    assert np.abs(made.astype(int) - picture).max() <= 2


@pytest.mark.parametrize("name", sorted(OWN))
def test_what_is_known_stays_and_nothing_of_the_hole_is_seen(name: str) -> None:
    rng = np.random.default_rng(0)
    picture, gone = rng.integers(0, 256, (48, 40, 3), dtype=np.uint8), hole(48, 40)
    first = filler(name).fill(np.where(gone[..., None], 0, picture).astype(np.uint8), gone)
    again = filler(name).fill(np.where(gone[..., None], 255, picture).astype(np.uint8), gone)
    assert np.array_equal(first, again)
    assert np.array_equal(first[~gone], picture[~gone])


@pytest.mark.parametrize("name", sorted(OWN))
def test_a_texture_is_filled_with_as_much_contrast(name: str) -> None:
    """Where a smooth fill has next to none: the deviation inside, over that of the whole."""
    rng = np.random.default_rng(1)
    noise = torch.from_numpy(rng.normal(size=(1, 1, 72, 72))).float()
    blurred = torch.nn.functional.avg_pool2d(noise, 3, 1, 1)[0, 0].numpy()
    picture = np.repeat(np.clip(128 + 150 * blurred, 0, 255).astype(np.uint8)[..., None], 3, 2)
    gone = np.zeros((72, 72), bool)
    gone[26:46, 26:46] = True
    shown = picture.copy()
    shown[gone] = 0
    made = filler(name).fill(shown, gone)
    assert 0.45 < made[gone].std() / picture[~gone].std() < 1.6


def test_two_holes_far_apart_are_filled_each_from_what_is_around_it() -> None:
    picture = np.zeros((120, 400, 3), np.uint8)
    picture[:, :200], picture[:, 200:] = stripes(120, 200), 255 - stripes(120, 200)
    picture[:, 200:, 0] = 0
    gone = np.zeros((120, 400), bool)
    gone[50:64, 60:74] = gone[50:64, 330:344] = True
    shown = picture.copy()
    shown[gone] = 99
    made = build(parse(Restorer, "exemplar")).fill(shown, gone)
    assert np.abs(made.astype(int) - picture).max() <= 2
    assert around(Box(50, 60, 14, 14), (120, 400)) == Box(2, 12, 110, 110)
    assert thickness(torch.ones(10, 10, dtype=torch.bool)) == 10


def test_a_picture_is_enlarged_by_its_own_patches_and_agrees_with_what_was_measured() -> None:
    """A step is sharper than the nearest pixel's enlargement is right: nearer to the truth, and its block means are y."""
    rows, columns = np.mgrid[:48, :48]
    edge = torch.from_numpy((rows + 0.5 * columns > 36).astype(np.float32))[None, None].expand(2, 3, -1, -1) * 1.2 - 0.6
    task = SuperResolution(SuperResolution.Config(scale=2))
    observation = task.observe(edge, [stream(0, "mask", i) for i in range(2)])
    made = Exemplar(Exemplar.Config()).restore(observation, rng=stream(0, "sample"))
    plain = Nearest(Nearest.Config()).restore(observation, rng=stream(0, "sample"))
    assert float((made - edge).abs().mean()) < float((plain - edge).abs().mean())
    assert float((observation.operator.forward(made) - observation.y).abs().max()) < 0.02


def test_nothing_known_becomes_grey_and_a_tiny_picture_is_filled() -> None:
    for name in OWN:
        made = filler(name)
        x = np.full((5, 6, 3), 90, np.uint8)
        gone = np.zeros((5, 6), bool)
        gone[2, 3] = True
        if name in ("exemplar", "criminisi", "gpdm"):
            assert np.abs(made.fill(x, gone).astype(int) - 90).max() <= 12
