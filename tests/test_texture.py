"""A smooth fill gets the texture of what is around it; what has texture, or should have none, is left alone."""

import pytest
import torch
from torch import Tensor

from sfumato.restorers.texture import fineness, most_alike, textured
from sfumato.streams import stream


def hole(side: int = 64, first: int = 20, length: int = 22) -> Tensor:
    gone = torch.zeros(side, side, dtype=torch.bool)
    gone[first : first + length, first : first + length] = True
    return gone


def stripes(side: int = 64, period: int = 6) -> Tensor:
    wave = (torch.arange(side).remainder(period) < period // 2).float()
    return (80 + 90 * wave).expand(1, 3, side, side).contiguous()


def noise(side: int = 64) -> Tensor:
    return 128 + 30 * torch.randn(1, 3, side, side, generator=stream(0, "noise"))


def test_stripes_go_on_through_a_flat_fill() -> None:
    true, gone = stripes(), hole()
    flat = torch.where(gone, true[:, :, ~gone].mean(), true)
    made = textured(flat, gone)
    assert torch.equal(made[:, :, ~gone], true[:, :, ~gone])
    error, before = (float((x - true)[:, :, gone].abs().mean()) for x in (made, flat))
    assert error < 0.15 * before, (error, before)


def test_two_textures_stay_where_the_fill_says_so() -> None:
    """Dark and light halves with grain: a smooth fill that steps at the right place keeps its step."""
    step = torch.where(torch.arange(64) < 32, 60.0, 190.0).expand(1, 3, 64, 64)
    grain = step + 15 * torch.randn(1, 3, 64, 64, generator=stream(0, "grain"))
    gone = hole()
    made = textured(torch.where(gone, step, grain), gone)
    assert float((made - step)[:, :, gone].mean().abs()) < 8
    power = fineness(made, gone) / fineness(grain, ~gone)
    assert 0.25 < power < 1.5, power


def test_what_has_texture_is_left_alone() -> None:
    x = noise()
    assert torch.equal(textured(x, hole()), x)


@pytest.mark.parametrize("side", [4, 9, 64])
def test_plain_and_tiny_pictures_are_left_alone(side: int) -> None:
    slope = torch.arange(float(side)).expand(1, 3, side, side)
    gone = hole(side, side // 4, max(side // 4, 1))
    assert torch.equal(textured(slope, gone), slope)


def test_without_a_whole_patch_nothing_happens() -> None:
    x, gone = noise(20), torch.zeros(20, 20, dtype=torch.bool)
    gone[::4], gone[:, ::4] = True, True
    flat = torch.where(gone, torch.tensor(128.0), x)
    assert torch.equal(textured(flat, gone), flat)


def test_the_same_hole_gets_the_same_texture_and_a_ragged_size_works() -> None:
    x = noise(64)[:, :, :61, :47]
    gone = hole()[:61, :47]
    flat = torch.where(gone, torch.tensor(128.0), x)
    assert torch.equal(textured(flat, gone), textured(flat, gone))


def test_what_is_most_alike_is_found() -> None:
    x = noise(12)
    everything = torch.arange(8 * 8)
    assert torch.equal(most_alike(x, everything, everything), everything)
    x[:, :, 5:10, 2:7] = x[:, :, 0:5, 0:5]
    assert int(most_alike(x, torch.tensor([5 * 8 + 2]), torch.arange(8))) == 0
