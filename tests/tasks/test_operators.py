"""The operators: against their dense matrices, where they are cut, and what each of the new ones must do."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from sfumato.errors import CapabilityError, ShapeError
from sfumato.kinds import build, parse
from sfumato.maths.regions import Box
from sfumato.streams import stream
from sfumato.tasks.base import Observation, Operator
from sfumato.tasks.blur import Blur, BlurLaw
from sfumato.tasks.down_sampling import BlockMean, CubicDown
from sfumato.tasks.operators import LUMA, Identity, Luma, Masking, Nothing, Unknown

N, SIZE = 2, (8, 12)


def known(n: int = N, size: tuple[int, int] = SIZE) -> Tensor:
    return (torch.rand(n, 1, *size, generator=torch.Generator().manual_seed(3)) < 0.6).float()


def law(name: str, **settings: Any) -> BlurLaw:
    return build(parse(BlurLaw, {"kind": name, **settings}))


def blur(name: str, n: int = N, size: tuple[int, int] = SIZE, **settings: Any) -> Blur:
    return Blur(law(name, **settings).draw([stream(0, "mask", i) for i in range(n)], n, size))


MAKE: dict[str, Callable[[], Operator]] = {
    "nothing": lambda: Nothing(N, SIZE),
    "identity": lambda: Identity(N, SIZE),
    "luma": lambda: Luma(N, SIZE),
    "masking": lambda: Masking(known()),
    "block_mean": lambda: BlockMean(N, SIZE, 4),
    "cubic": lambda: CubicDown(N, SIZE, 2),
    "gaussian": lambda: blur("gaussian"),
    "motion": lambda: blur("motion"),
}
each = pytest.mark.parametrize("name", MAKE)
measuring = pytest.mark.parametrize("name", [name for name in MAKE if name != "nothing"])


def images(n: int = N, size: tuple[int, int] = SIZE, seed: int = 0, channels: int = 3) -> Tensor:
    return torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def dense(operator: Operator, channels: int = 3) -> Tensor:
    """A as a matrix for each image [n, numbers of y, numbers of x], a column for each pixel that is lit alone."""
    dimensions = channels * math.prod(operator.size)
    columns = []
    for place in range(dimensions):
        lit = torch.zeros(dimensions)
        lit[place] = 1.0
        x = lit.view(1, channels, *operator.size).expand(operator.n, -1, -1, -1)
        columns.append(operator.forward(x).flatten(1))
    return torch.stack(columns, 2).double()


def times(matrix: Tensor, x: Tensor) -> Tensor:
    return (matrix @ x.flatten(1).double()[:, :, None])[:, :, 0].float()


@each
def test_forward_is_its_matrix(name: str) -> None:
    operator = MAKE[name]()
    x = images()
    torch.testing.assert_close(operator.forward(x).flatten(1), times(dense(operator), x), atol=1e-5, rtol=0)


@each
def test_the_adjoint_is_the_transpose(name: str) -> None:
    operator = MAKE[name]()
    y = operator.forward(images())
    y = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    assert operator.adjoint(y).shape == (N, 3, *SIZE)
    expected = times(dense(operator).mT, y)
    torch.testing.assert_close(operator.adjoint(y).flatten(1), expected, atol=1e-5, rtol=0)
    # What an operator says itself is what automatic differentiation says.
    torch.testing.assert_close(Operator.adjoint(operator, y), operator.adjoint(y), atol=1e-5, rtol=0)


@measuring
def test_the_pseudo_inverse_is_the_dense_one(name: str) -> None:
    operator = MAKE[name]()
    y = torch.randn(operator.forward(images()).shape, generator=torch.Generator().manual_seed(1))
    expected = times(torch.linalg.pinv(dense(operator), rtol=1e-3), y)
    torch.testing.assert_close(operator.pinv(y).flatten(1), expected, atol=2e-4, rtol=1e-4)


@each
def test_a_pseudo_inverse_a_is_a(name: str) -> None:
    operator = MAKE[name]()
    x = images()
    y = operator.forward(x)
    torch.testing.assert_close(operator.forward(operator.pinv(y)), y, atol=1e-5, rtol=0)
    small = operator.pinv(y)
    torch.testing.assert_close(operator.pinv(operator.forward(small)), small, atol=1e-4, rtol=0)
    torch.testing.assert_close(operator.forward(operator.project(images(seed=7), y)), y, atol=1e-5, rtol=0)


@measuring
def test_solve_damps_as_the_dense_system_does(name: str) -> None:
    operator = MAKE[name]()
    y = torch.randn(operator.forward(images()).shape, generator=torch.Generator().manual_seed(1))
    matrix = dense(operator)
    ridge = 0.1 * torch.eye(matrix.shape[1], dtype=torch.float64)
    damped = torch.linalg.solve(matrix @ matrix.mT + ridge, y.flatten(1).double()[:, :, None])
    expected = (matrix.mT @ damped)[:, :, 0].float()
    torch.testing.assert_close(operator.solve(y, 0.1).flatten(1), expected, atol=1e-4, rtol=1e-4)


def test_solve_of_nothing_is_grey() -> None:
    operator = Nothing(N, SIZE)
    assert torch.equal(operator.solve(operator.forward(images()), 0.1), torch.zeros(N, 3, *SIZE))


@each
@pytest.mark.parametrize("places", [slice(1, 2), torch.tensor([1]), torch.tensor([1, 0, 1])], ids=str)
def test_some_of_the_images(name: str, places: Any) -> None:
    operator = MAKE[name]()
    part = operator.pick(places)
    x = images()
    assert type(part) is type(operator) and part.n == len(x[places]) and part.size == SIZE
    torch.testing.assert_close(part.forward(x[places]), operator.forward(x)[places], atol=1e-6, rtol=0)
    assert torch.equal(part.known, operator.known[places])
    moved = operator.to("cpu")
    assert torch.equal(moved.forward(x), operator.forward(x)) and moved.size == SIZE


@each
def test_what_it_says_of_itself(name: str) -> None:
    operator = MAKE[name]()
    x = images()
    y = operator.forward(x)
    assert operator.known.shape == (N, 1, *SIZE) and operator.size == SIZE and operator.linear
    assert operator.shrinks == (0 < y.shape[2] * y.shape[3] < math.prod(SIZE))
    assert operator.mixes == (y.shape[1] != 3)
    assert operator.hides == (name == "masking") and operator.blurs == (name in ("gaussian", "motion"))
    given = operator.known.expand_as(x) == 1
    if given.any():  # these pixels are passed on as they are
        assert torch.equal(y[given], x[given])
    else:
        assert y.shape != x.shape or not torch.equal(y, x)


# Crops


@pytest.mark.parametrize("name", ["masking", "block_mean", "identity", "luma", "nothing"])
@pytest.mark.parametrize("window", [(0, 0, 8, 12), (4, 8, 4, 4), (0, 4, 8, 8)], ids=str)
def test_a_crop_of_the_operator_sees_the_crop(name: str, window: tuple[int, int, int, int]) -> None:
    operator = MAKE[name]()
    top, left, rows, columns = window
    x = images()
    inside = x[:, :, top : top + rows, left : left + columns]
    cut = operator.crop(Box(*window))
    y = operator.forward(x)
    shrunk = 4 if operator.shrinks else 1
    part = y[:, :, top // shrunk : (top + rows) // shrunk, left // shrunk : (left + columns) // shrunk]
    assert cut.size == (rows, columns) and cut.n == N and type(cut) is type(operator)
    torch.testing.assert_close(cut.forward(inside), part, atol=1e-6, rtol=0)
    assert torch.equal(cut.known, operator.known[:, :, top : top + rows, left : left + columns])
    whole = operator.pinv(y)[:, :, top : top + rows, left : left + columns]
    torch.testing.assert_close(cut.pinv(part), whole, atol=1e-6, rtol=0)


def test_masks_may_be_cut_anywhere() -> None:
    operator = Masking(known())
    x = images()
    cut = operator.crop(Box(1, 3, 5, 7))
    assert torch.equal(cut.forward(x[:, :, 1:6, 3:10]), operator.forward(x)[:, :, 1:6, 3:10])


@pytest.mark.parametrize("window", [(2, 0, 4, 4), (0, 4, 4, 6), (0, 3, 4, 4)], ids=str)
def test_blocks_are_not_cut_in_two(window: tuple[int, int, int, int]) -> None:
    with pytest.raises(CapabilityError, match="begins and ends at multiples of 4"):
        BlockMean(N, SIZE, 4).crop(Box(*window))


@pytest.mark.parametrize("name", ["gaussian", "motion", "cubic"])
def test_what_looks_beyond_a_window_is_not_cut(name: str) -> None:
    with pytest.raises(CapabilityError, match="looks beyond any window"):
        MAKE[name]().crop(Box(0, 0, 4, 4))


def test_cut_down_sampling_keeps_its_scale_and_preview() -> None:
    y = torch.rand(N, 3, 1, 1)
    cut = BlockMean(N, SIZE, 4, smooth=False).crop(Box(0, 0, 4, 4))
    assert torch.equal(cut.preview(y), cut.pinv(y)) and cut.preview(y).shape == (N, 3, 4, 4)


# Identity and Luma


def test_identity_returns_what_it_is_given() -> None:
    operator, x = Identity(N, SIZE), images()
    for passed in (operator.forward, operator.pinv, operator.adjoint, operator.preview):
        assert torch.equal(passed(x), x)
    assert (operator.known == 1).all()


def test_luma_is_the_weighted_sum_of_the_channels() -> None:
    operator, x = Luma(N, SIZE), images()
    y = operator.forward(x)
    expected = LUMA[0] * x[:, :1] + LUMA[1] * x[:, 1:2] + LUMA[2] * x[:, 2:]
    torch.testing.assert_close(y, expected)
    assert sum(LUMA) == pytest.approx(1.0)
    shown = operator.preview(y)
    assert shown.shape == x.shape and all(torch.equal(shown[:, i : i + 1], y) for i in range(3))
    grey = y.expand(-1, 3, -1, -1)
    torch.testing.assert_close(operator.forward(grey), y)  # a grey picture keeps its brightness
    assert (operator.known == 0).all()


def test_luma_refuses_grey() -> None:
    with pytest.raises(ShapeError, match="these have 1"):
        Luma(N, SIZE).forward(images(channels=1))


# Blur


@pytest.mark.parametrize(
    ("name", "settings"), [("gaussian", {"sigma": 0.5}), ("gaussian", {"sigma": 0.3}), ("motion", {"length": 1.2})]
)
def test_a_blur_is_a_convolution_that_goes_round(name: str, settings: dict[str, float]) -> None:
    operator = blur(name, **settings)
    gains = torch.fft.fft2(operator.kernel).abs()
    assert float(gains.min()) > 0.05  # these kernels lose no frequency
    x = images()
    expected = torch.zeros_like(x, dtype=torch.float64)
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            expected += operator.kernel[:, :, row, column, None, None] * x.roll((row, column), (2, 3))
    torch.testing.assert_close(operator.forward(x), expected.float(), atol=1e-5, rtol=0)
    torch.testing.assert_close(operator.pinv(operator.forward(x)), x, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (25, 31)])
def test_the_gaussian_kernel_is_a_gaussian(size: tuple[int, int]) -> None:
    kernel = law("gaussian", sigma=1.5).draw(stream(0, "mask"), 3, size)
    assert kernel.shape == (3, 1, *size) and torch.equal(kernel[0], kernel[2])
    rows, columns = (norm.pdf(np.fft.fftfreq(side, 1 / side), scale=1.5) for side in size)
    np.testing.assert_allclose(kernel[0, 0].numpy(), np.outer(rows, columns), atol=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "motion"])
@pytest.mark.parametrize("size", [(16, 16), (24, 40), (9, 15)])
def test_kernels_keep_the_mean(name: str, size: tuple[int, int]) -> None:
    operator = blur(name, size=size)
    torch.testing.assert_close(operator.kernel.sum(dim=(1, 2, 3)), torch.ones(N, dtype=torch.float64))
    x = images(size=size)
    torch.testing.assert_close(operator.forward(x).mean(dim=(2, 3)), x.mean(dim=(2, 3)), atol=1e-6, rtol=0)


def test_motion_kernels_differ_between_images_and_gaussians_do_not() -> None:
    motion, gaussian = blur("motion", 6).kernel, blur("gaussian", 6).kernel
    for i in range(6):
        assert torch.equal(gaussian[i], gaussian[0])
        for j in range(i):
            assert float((motion[i] - motion[j]).abs().max()) > 1e-3


def test_motion_does_not_depend_on_the_batch() -> None:
    together = law("motion").draw([stream(5, "mask", i) for i in range(4)], 4, SIZE)
    apart = torch.cat([law("motion").draw([stream(5, "mask", i)], 1, SIZE) for i in range(4)])
    torch.testing.assert_close(together, apart, atol=1e-14, rtol=0)  # FFTs of several images round otherwise
    at_once = law("motion").draw(stream(5, "mask"), 4, SIZE)
    assert at_once.shape == together.shape and not torch.equal(at_once[0], at_once[1])


@pytest.mark.parametrize(("u", "along"), [(0.0, 3), (0.5, 2)])
def test_a_motion_smears_along_its_direction_alone(u: float, along: int) -> None:
    rows, columns = 24, 40
    down = torch.fft.fftfreq(rows, dtype=torch.float64)[:, None]
    across = torch.fft.rfftfreq(columns, dtype=torch.float64)[None]
    gain = law("motion", length=6).gain(torch.tensor([[u]], dtype=torch.float64), down, across)
    operator = Blur(torch.fft.irfft2(gain, s=(rows, columns))[:, None])
    x = images(1, (rows, columns))
    still = x.mean(dim=along, keepdim=True).expand_as(x)  # changes only across the motion
    torch.testing.assert_close(operator.forward(still), still, atol=1e-5, rtol=0)
    assert float((operator.forward(x) - x).abs().max()) > 0.1
    # A window of length 6 adds 36 / 12 to the variance of the place, measured by its characteristic function.
    first = torch.fft.fft2(operator.kernel[0, 0])
    found = float((first[0, 1] if along == 3 else first[1, 0]).real)
    assert found == pytest.approx(float(np.sinc(6 / (columns if along == 3 else rows))), abs=1e-6)


def test_a_blurs_inverse_is_bounded() -> None:
    operator = blur("gaussian", sigma=3.0, size=(24, 40))
    y = torch.randn(N, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    assert float(operator.pinv(y).norm()) <= 20.001 * float(y.norm())
    assert torch.equal(operator.preview(y), y) and (operator.known == 0).all()


# Unknown


def test_an_unknown_operator_does_nothing_and_says_so() -> None:
    operator, y = Unknown(N, SIZE), images()
    assert not operator.linear and (operator.known == 0).all() and torch.equal(operator.preview(y), y)
    for asked in (operator.forward, operator.pinv, operator.adjoint, lambda y: operator.project(y, y)):
        with pytest.raises(CapabilityError, match="no known operator"):
            asked(y)
    with pytest.raises(CapabilityError, match="no known operator"):
        operator.solve(y, 0.1)
    assert (
        operator.pick(slice(1, 9)).n == 1
        and operator.to("cpu").n == N
        and operator.crop(Box(0, 0, 4, 6)).size == (4, 6)
    )


# What an observation makes of them


def test_noise_or_an_unknown_operator_binds_nobody() -> None:
    x = images(seed=9)
    for operator, noise in ((Identity(N, SIZE), 0.1), (Masking(known()), 0.1), (Unknown(N, SIZE), 0.0)):
        seen = Observation(images(), operator, torch.ones(N, 1, *SIZE), noise)
        assert not seen.exact and (seen.known == 0).all() and torch.equal(seen.project(x), x)
        told = 0.9 * seen.operator.known if seen.operator.hides else torch.zeros(N, 1, *SIZE)
        assert torch.equal(seen.image[:, -1:], told) and seen.pick(slice(0, 1)).noise == seen.to("cpu").noise == noise


@each
def test_without_noise_a_measurement_binds(name: str) -> None:
    operator, x = MAKE[name](), images(seed=9)
    seen = Observation(operator.forward(images()), operator, torch.ones(N, 1, *SIZE))
    assert seen.exact and torch.equal(seen.known, operator.known)
    assert torch.equal(seen.project(x), operator.project(x, seen.y))
