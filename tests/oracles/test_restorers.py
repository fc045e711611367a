"""The classical restorers. Oracles: affine ramps, means, and OpenCV, scikit-image, Pillow and SciPy called directly."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import zoom
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from sfumato.errors import CapabilityError
from sfumato.images import to_float, to_uint8
from sfumato.kinds import build, discover, parse
from sfumato.restorers.base import Enlarger, Filler, Restorer
from sfumato.streams import stream
from sfumato.tasks.base import Observation, region_weight
from sfumato.tasks.down_sampling import BlockMean
from sfumato.tasks.operators import Masking

FILLERS = [name for name, kind in discover(Restorer).items() if issubclass(kind, Filler)]
for slow in ("singan", "texto"):  # they train for many seconds a picture even here; their contracts promise the same
    FILLERS.remove(slow)
ENLARGERS = [name for name, kind in discover(Restorer).items() if issubclass(kind, Enlarger)]


def pictures(n: int, size: int, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = zoom(rng.uniform(0, 255, (n, channels, 4, 4)), (1, 1, size / 4, size / 4), order=1)
    return np.clip(smooth + rng.normal(0, 5, smooth.shape), 0, 255).astype(np.uint8)


def holes(n: int, size: int) -> np.ndarray:
    hole = np.zeros((n, size, size), bool)
    for i in range(n):
        hole[i, 2 + i : size // 2 + i, 3 : size // 2 + 2 - i] = True
    return hole


def restored(name: str, picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    known = torch.from_numpy(~hole).float()[:, None]
    operator = Masking(known)
    observation = Observation(
        operator.forward(to_float(torch.from_numpy(picture))), operator, region_weight(known, "unknown")
    )
    made = build(parse(Restorer, name)).restore(observation, rng=stream(0, "sample"))
    return to_uint8(made).numpy()


@pytest.mark.parametrize("name", FILLERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_known_pixels_stay_and_true_ones_do_not_leak(name: str, channels: int) -> None:
    picture, hole = pictures(3, 16, channels), holes(3, 16)
    made = restored(name, picture, hole)
    where = np.broadcast_to(hole[:, None], picture.shape)
    np.testing.assert_array_equal(made[~where], picture[~where])
    other = picture.copy()
    other[where] = 255 - other[where]
    np.testing.assert_array_equal(restored(name, other, hole), made)


@pytest.mark.parametrize("name", FILLERS)
def test_known_values_are_kept_to_the_bit(name: str) -> None:
    x = to_float(torch.from_numpy(pictures(3, 16)))
    known = torch.from_numpy(~holes(3, 16)).float()[:, None]
    observation = Observation(x * known, Masking(known), known)
    made = build(parse(Restorer, name)).restore(observation, rng=stream(0, "sample"))
    assert torch.equal(made * known, x * known)


@pytest.mark.parametrize("name", FILLERS)
def test_all_or_nothing_known(name: str) -> None:
    picture = pictures(2, 8)
    hole = np.stack([np.zeros((8, 8), bool), np.ones((8, 8), bool)])
    made = restored(name, picture, hole)
    np.testing.assert_array_equal(made[0], picture[0])
    assert (made[1] == 128).all()


@pytest.mark.parametrize("name", FILLERS)
def test_a_flat_picture_stays_flat(name: str) -> None:
    picture = np.full((1, 3, 16, 16), 77, np.uint8)
    # OpenCV's Telea truncates where others round, and so loses a level with each ring of the hole; GPDM is a descent.
    most = {"telea": 3, "gpdm": 1}.get(name, 0)
    assert np.abs(restored(name, picture, holes(1, 16)).astype(int) - 77).max() <= most


def test_mean_fill() -> None:
    picture, hole = pictures(2, 16), holes(2, 16)
    made = restored("mean_fill", picture, hole)
    for i in range(2):
        for c in range(3):
            mean = np.mean([int(v) for v in picture[i, c][~hole[i]]])
            assert (np.abs(made[i, c][hole[i]].astype(float) - mean) <= 0.5).all()


@pytest.mark.parametrize("name", ["biharmonic"])
def test_an_affine_ramp_is_continued(name: str) -> None:
    # Laplace(Laplace u) = 0 for every affine u, and the ramp's extremes are known, so nothing is clipped.
    rows, columns = np.mgrid[:20, :20]
    ramp = np.stack([20 + 5 * rows + 3 * columns, 200 - 4 * rows - 2 * columns, 60 + 6 * columns])[None]
    made = restored(name, ramp.astype(np.uint8), holes(1, 20))
    assert np.abs(made.astype(int) - ramp).max() <= 1


def test_biharmonic_is_scikit_image_s() -> None:
    picture, hole = pictures(2, 16), holes(2, 16)
    made = restored("biharmonic", picture, hole)
    for i in range(2):
        channels_last = np.moveaxis(picture[i], 0, 2) / 255.0
        theirs = inpaint_biharmonic(channels_last, hole[i], channel_axis=2)  # their mask is True where unknown
        assert np.abs(made[i] - np.moveaxis(theirs * 255, 2, 0)).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(("name", "flag"), [("telea", cv2.INPAINT_TELEA), ("navier_stokes", cv2.INPAINT_NS)])
@pytest.mark.parametrize("channels", [1, 3])
def test_opencv_called_directly(name: str, flag: int, channels: int) -> None:
    picture, hole = pictures(3, 16, channels), holes(3, 16)
    made = restored(name, picture, hole)
    for i in range(3):
        for c in range(channels):
            known = (~hole[i]).astype(np.uint8)
            theirs = cv2.inpaint(picture[i, c], 1 - known, 3.0, flag)  # their mask is 1 where unknown
            np.testing.assert_array_equal(made[i, c], theirs)


def enlarged(name: str, y: Tensor, scale: int) -> Tensor:
    operator = BlockMean(len(y), (y.shape[-2] * scale, y.shape[-1] * scale), scale)
    observation = Observation(y, operator, torch.ones_like(operator.known))
    restorer = build(parse(Restorer, name))
    if isinstance(restorer, Enlarger):
        made = restorer.restore(observation, rng=stream(0, "sample"))
        error = (operator.forward(made) - y).abs()  # what was measured is kept, up to what the range [-1, 1] forbids
        assert float(error.max()) < 0.02 and float(made.abs().max()) <= 1
        return restorer.enlarge(y, operator.size).clamp(-1, 1)
    return restorer.restore(observation, rng=stream(0, "sample"))


@pytest.mark.parametrize("scale", [2, 4])
def test_nearest_is_numpy_s_repeat(scale: int) -> None:
    y = to_float(torch.from_numpy(pictures(2, 8)))
    made = enlarged("nearest", y, scale).numpy()
    np.testing.assert_array_equal(made, y.numpy().repeat(scale, axis=2).repeat(scale, axis=3))


@pytest.mark.parametrize("scale", [2, 4])
def test_bicubic_is_opencv_s(scale: int) -> None:
    # OpenCV's INTER_CUBIC has the same a = -3/4, half-pixel centres and repeated borders; Pillow's has a = -1/2.
    y = to_float(torch.from_numpy(pictures(2, 8)))
    made = enlarged("bicubic", y, scale).numpy()
    for i in range(2):
        for c in range(3):
            theirs = cv2.resize(y[i, c].numpy(), (8 * scale, 8 * scale), interpolation=cv2.INTER_CUBIC)
            np.testing.assert_allclose(made[i, c], theirs.clip(-1, 1), atol=1e-4)
            pillow = Image.fromarray(y[i, c].numpy()).resize((8 * scale, 8 * scale), Image.Resampling.BICUBIC)
            assert np.abs(made[i, c] - np.asarray(pillow)).max() < 0.15


@pytest.mark.parametrize("name", ENLARGERS)
def test_a_flat_picture_is_enlarged_flat(name: str) -> None:
    torch.testing.assert_close(enlarged(name, torch.full((1, 3, 4, 4), 0.3), 2), torch.full((1, 3, 8, 8), 0.3))


@pytest.mark.parametrize("name", FILLERS)
def test_a_filler_refuses_to_enlarge(name: str) -> None:
    if name == "exemplar":
        pytest.skip("it does both")
    with pytest.raises(CapabilityError, match="BlockMean"):
        enlarged(name, torch.zeros(1, 3, 4, 4), 2)


@pytest.mark.parametrize("name", ENLARGERS)
def test_an_enlarger_refuses_to_fill(name: str) -> None:
    with pytest.raises(CapabilityError, match="Masking"):
        restored(name, pictures(1, 8), holes(1, 8))


def test_biharmonic_refuses_a_hole_that_memory_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    from sfumato.restorers import biharmonic

    restorer = build(parse(Restorer, "biharmonic"))
    picture, hole = np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), bool)
    hole[5:15, 5:15] = True
    monkeypatch.setattr(biharmonic, "free_memory", lambda: 100 * biharmonic.A_PIXEL - 1)
    with pytest.raises(CapabilityError, match=r"to fill 100 pixels.*or use telea"):
        restorer.fill(picture, hole)
    monkeypatch.setattr(biharmonic, "free_memory", lambda: 100 * biharmonic.A_PIXEL)
    assert restorer.fill(picture, hole).shape == picture.shape


@pytest.mark.parametrize("name", ["telea", "navier_stokes", "biharmonic", "mean_fill"])
@pytest.mark.parametrize("seed", range(4))
def test_what_lies_beyond_reach_decides_nothing(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (60, 70, 3), dtype=np.uint8)
    hole = np.zeros((60, 70), bool)
    for _ in range(2):
        top, left = rng.integers(0, 50), rng.integers(20, 40)
        hole[top : top + rng.integers(1, 12), left : left + rng.integers(1, 12)] = True
    restorer = build(parse(Restorer, name))
    np.testing.assert_array_equal(restorer.filled(picture, hole), restorer.fill(picture, hole).reshape(picture.shape))


def test_many_small_holes_need_the_memory_of_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    from sfumato.restorers import biharmonic

    restorer = build(parse(Restorer, "biharmonic"))
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    hole = np.zeros((40, 40), bool)
    for top, left in ((4, 4), (4, 14), (20, 5), (25, 30)):
        hole[top : top + 5, left : left + 5] = True
    whole = restorer.fill(picture, hole)
    monkeypatch.setattr(biharmonic, "MOST", 26 * biharmonic.A_PIXEL)  # one hole at a time
    np.testing.assert_array_equal(restorer.fill(picture, hole), whole)
