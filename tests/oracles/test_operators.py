"""The linear operators. Oracles: NumPy's pinv of the materialised matrix, Pillow's BICUBIC, scikit-image's block means."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.transform import downscale_local_mean
from torch import Tensor

from sfumato.maths.resample import cubic_kernel, cubic_matrix
from sfumato.tasks.base import Operator
from sfumato.tasks.down_sampling import BlockMean, CubicDown
from sfumato.tasks.operators import Masking, Nothing


def mask(size: int, n: int = 1) -> Tensor:
    return (torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(size)) < 0.6).float()


OPERATORS: dict[str, Callable[[int], Operator]] = {
    "mask of 4": lambda n: Masking(mask(4).expand(n, 1, 4, 4)),
    "mask of 5": lambda n: Masking(mask(5).expand(n, 1, 5, 5)),
    "mean by 2": lambda n: BlockMean(n, (6, 6), 2),
    "mean by 3": lambda n: BlockMean(n, (6, 6), 3),
    "cubic by 2": lambda n: CubicDown(n, (8, 8), 2),
    "cubic by 4": lambda n: CubicDown(n, (8, 8), 4),
    "mean by 2, oblong": lambda n: BlockMean(n, (4, 6), 2),
    "cubic by 2, oblong": lambda n: CubicDown(n, (8, 6), 2),
    "nothing": lambda n: Nothing(n, (4, 4)),
}
each = pytest.mark.parametrize("name", OPERATORS)


def images(n: int, size: int | tuple[int, int], channels: int = 3) -> Tensor:
    rows, columns = (size, size) if isinstance(size, int) else size
    return torch.rand(n, channels, rows, columns, generator=torch.Generator().manual_seed(1)) * 2 - 1


def matrices(make: Callable[[int], Operator]) -> tuple[np.ndarray, np.ndarray]:
    """A and A+ as matrices, one unit image and one unit measurement a column."""
    rows, columns = make(1).size
    units = torch.eye(rows * columns).view(-1, 1, rows, columns)
    a = make(len(units)).forward(units)
    small = a.shape[2:]
    a = a.flatten(1).T
    if a.shape[0] == 0:
        return a.double().numpy(), np.zeros((rows * columns, 0))
    units = torch.eye(small.numel()).view(-1, 1, *small)
    return a.double().numpy(), make(len(units)).pinv(units).flatten(1).T.double().numpy()


@each
def test_pinv_is_numpy_s(name: str) -> None:
    a, plus = matrices(OPERATORS[name])
    np.testing.assert_allclose(plus, np.linalg.pinv(a, rcond=1e-5), atol=2e-6)


@each
def test_the_four_conditions_of_moore_and_penrose(name: str) -> None:
    a, plus = matrices(OPERATORS[name])
    for left, right in ((a @ plus @ a, a), (plus @ a @ plus, plus), ((a @ plus).T, a @ plus), ((plus @ a).T, plus @ a)):
        np.testing.assert_allclose(left, right, atol=5e-6)


@each
def test_project_agrees_and_changes_no_more_than_it_must(name: str) -> None:
    operator = OPERATORS[name](2)
    size = operator.size
    true, x = images(2, size), images(2, size).flip(0, 2)
    y = operator.forward(true)
    made = operator.project(x, y)
    torch.testing.assert_close(operator.forward(made), y, atol=3e-6, rtol=0)
    torch.testing.assert_close(operator.project(made, y), made, atol=3e-6, rtol=0)
    # The nearest such image: what was changed is orthogonal to the null space of A.
    a, _ = matrices(OPERATORS[name])
    null = np.eye(size[0] * size[1]) - np.linalg.pinv(a, rcond=1e-5) @ a
    change = (made - x).flatten(2).double().numpy()
    np.testing.assert_allclose(change @ null, 0.0, atol=1e-5)


def test_masks_keep_known_pixels_and_nothing_else() -> None:
    known = mask(8, 3)
    operator, true, x = Masking(known), images(3, 8), images(3, 8).flip(0)
    made = operator.project(x, operator.forward(true))
    expected = np.where(known.numpy() == 1, true.numpy(), x.numpy())
    np.testing.assert_allclose(made.numpy(), expected, atol=2e-7)


@pytest.mark.parametrize("scale", [2, 4])
def test_block_mean_is_scikit_image_s(scale: int) -> None:
    x = images(2, 8)
    theirs = downscale_local_mean(x.numpy(), (1, 1, scale, scale))
    np.testing.assert_allclose(BlockMean(2, (8, 8), scale).forward(x).numpy(), theirs, atol=1e-6)


@pytest.mark.parametrize(("large", "small"), [(8, 4), (16, 4), (32, 8), (33, 11), (24, 16), (64, 1)])
def test_cubic_is_pillow_s(large: int, small: int) -> None:
    x = np.random.default_rng(0).normal(size=(large, large)).astype(np.float32)
    d = cubic_matrix(large, small).numpy()
    theirs = np.asarray(Image.fromarray(x).resize((small, small), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(d @ x @ d.T, theirs, atol=3e-6)
    if large % small == 0 and small > 1:
        made = CubicDown(1, (large, large), large // small).forward(torch.from_numpy(x)[None, None])
        np.testing.assert_allclose(made[0, 0].numpy(), theirs, atol=5e-6)


def test_cubic_kernel_of_keys() -> None:
    # Interpolating (1 at 0, 0 at other integers), a partition of unity, and exact for straight lines.
    t = torch.arange(-3.0, 4.0, dtype=torch.float64)
    assert cubic_kernel(t).tolist() == [0, 0, 0, 1, 0, 0, 0]
    for shift in (0.1, 0.25, 0.5, 0.9):
        weights = cubic_kernel(t - shift)
        assert float(weights.sum()) == pytest.approx(1.0) and float((weights * t).sum()) == pytest.approx(shift)
