"""MS-SSIM. Oracles: SciPy's Gaussian filter everywhere, torchmetrics by its own border rules, SSIM where there is one scale.

torchmetrics drops the 5 outer pixels of cs, whose windows reach over the border, and at the coarsest scale mirrors
borders without repeating them. Here borders are mirrored with repetition at every scale, as scikit-image does for SSIM, so
that a hole at the border counts. So torchmetrics is compared twice: equal by its border rules, close by ours.
"""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure

from sfumato.images import to_float
from sfumato.kinds import build, parse
from sfumato.metrics.base import Metric, Score
from sfumato.metrics.ms_ssim import WEIGHTS, exponents, halved, maps, ms_ssim, scales
from sfumato.metrics.ssim import ssim_map
from sfumato.tasks.base import Observation
from sfumato.tasks.operators import Masking


def pair(height: int, width: int, noise: int = 40, channels: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Smooth pictures of several grains, and the same with noise."""
    rng = np.random.default_rng(seed)
    grains = [
        gaussian_filter(rng.normal(size=(2, channels, height, width)), (0, 0, s, s), mode="wrap") * s
        for s in (1, 4, 12)
    ]
    true = np.clip(128 + 90 * sum(grains), 0, 255).astype(np.uint8)
    made = np.clip(true.astype(int) + rng.integers(-noise, noise + 1, true.shape), 0, 255).astype(np.uint8)
    return torch.from_numpy(made), torch.from_numpy(true)


def everywhere(x: Tensor) -> Tensor:
    return torch.ones(len(x), 1, *x.shape[2:], dtype=torch.float64)


def by_scipy(x: np.ndarray, y: np.ndarray, looks: np.ndarray, weights: list[float]) -> float:
    """One image [C, H, W]; an odd side is lengthened by its last row, of which only one is then counted."""

    def blur(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, (0, 1.5, 1.5), truncate=3.5, mode="reflect")

    def half(image: np.ndarray) -> np.ndarray:
        image = np.pad(image, [(0, 0), (0, image.shape[1] % 2), (0, image.shape[2] % 2)], mode="edge")
        return image.reshape(len(image), image.shape[1] // 2, 2, image.shape[2] // 2, 2).mean(axis=(2, 4))

    x, y, looks, value = x.astype(float), y.astype(float), looks.astype(float), 1.0
    for j, weight in enumerate(weights):
        m_x, m_y = blur(x), blur(y)
        v_x, v_y, v_xy = blur(x**2) - m_x**2, blur(y**2) - m_y**2, blur(x * y) - m_x * m_y
        image = (2 * v_xy + 58.5225) / (v_x + v_y + 58.5225)  # (0.03 255)^2
        if j == len(weights) - 1:
            image = image * (2 * m_x * m_y + 6.5025) / (m_x**2 + m_y**2 + 6.5025)  # (0.01 255)^2
        value *= max(np.average(image.mean(0), weights=looks[0]), 0.0) ** weight
        x, y, looks = half(x), half(y), half(looks)
    return value


@pytest.mark.parametrize(
    ("height", "width", "count"), [(176, 192, 5), (181, 177, 5), (90, 131, 4), (47, 64, 3), (29, 22, 2), (16, 16, 1)]
)
@pytest.mark.parametrize("noise", [5, 100])
def test_scipy(height: int, width: int, count: int, noise: int) -> None:
    made, true = pair(height, width, noise)
    weights = [w if count == 5 else w / sum(WEIGHTS[:count]) for w in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)[:count]]
    hole = np.random.default_rng(1).uniform(size=(2, 1, height, width)) < 0.3
    hole[:, :, -1] = True
    for looks in (np.ones_like(hole), hole):
        ours = ms_ssim(made, true, torch.from_numpy(looks.astype(float)))
        for i in range(2):
            expected = by_scipy(made[i].numpy(), true[i].numpy(), looks[i], weights)
            assert float(ours[i]) == pytest.approx(expected, rel=1e-9)
            assert 0.1 < expected < 0.9999


def torchmetrics(made: Tensor, true: Tensor) -> list[float]:
    theirs = MultiScaleStructuralSimilarityIndexMeasure(data_range=255.0, reduction="none", betas=WEIGHTS)
    theirs.update(made.double(), true.double())
    return theirs.compute().tolist()


@pytest.mark.parametrize(("height", "width"), [(176, 176), (192, 208)])
@pytest.mark.parametrize("noise", [5, 100])
def test_torchmetrics_by_its_border_rules(height: int, width: int, noise: int) -> None:
    made, true = pair(height, width, noise)
    means = [contrast[..., 5:-5, 5:-5].mean((1, 2, 3)) for contrast, _ in maps(made, true)][:-1]
    coarse = made.double(), true.double()
    for _ in range(4):
        coarse = halved(coarse[0]), halved(coarse[1])
    _, both = next(maps(*(F.pad(x, (5, 5, 5, 5), mode="reflect") for x in coarse)))
    means.append(both[..., 5:-5, 5:-5].mean((1, 2, 3)))
    inside = torch.stack([mean**w for mean, w in zip(means, WEIGHTS, strict=True)]).prod(0)
    assert inside.tolist() == pytest.approx(torchmetrics(made, true), rel=1e-8)  # its exponents are float32


@pytest.mark.parametrize("noise", [5, 40])
def test_torchmetrics_by_our_border_rule(noise: int) -> None:
    made, true = pair(256, 256, noise)
    ours = ms_ssim(made, true, everywhere(true))
    assert ours.tolist() == pytest.approx(torchmetrics(made, true), abs=0.001)


def test_one_scale_is_ssim_and_equal_images_are_one() -> None:
    made, true = pair(21, 30)
    assert ms_ssim(made, true, everywhere(true)).tolist() == pytest.approx(
        ssim_map(made, true).mean((1, 2, 3)).tolist()
    )
    for size in (8, 40, 200):
        made, _ = pair(size, size)
        assert ms_ssim(made, made, everywhere(made)).tolist() == pytest.approx([1.0, 1.0], abs=1e-12)


def test_scales_and_exponents() -> None:
    for count, least in ((2, 22), (3, 44), (4, 88), (5, 176)):
        assert scales(least, 999) == scales(999, least) == count
        assert scales(least - 1, 999) == count - 1
    assert scales(1, 1) == scales(11, 11) == 1 and scales(5000, 5000) == 5
    assert exponents(5) == list(WEIGHTS) and exponents(1) == [1.0]
    assert exponents(2) == pytest.approx([0.0448 / 0.3304, 0.2856 / 0.3304])


def test_halves_of_odd_sides_lose_no_pixel() -> None:
    x = torch.arange(15.0).view(1, 1, 3, 5).double()
    assert halved(x).flatten().tolist() == [3.0, 5.0, 6.5, 10.5, 12.5, 14.0]


def test_an_inverted_picture_counts_as_zero() -> None:
    _, true = pair(64, 64)
    assert ms_ssim(255 - true, true, everywhere(true)).tolist() == [0.0, 0.0]


def test_what_lies_far_from_the_region_does_not_count() -> None:
    made, true = pair(176, 176)
    weight = torch.zeros(2, 1, 176, 176, dtype=torch.float64)
    weight[:, :, :8, :8] = 1.0
    other = made.clone()
    other[:, :, 8 + 6 * 16 :] = 0  # the coarsest window reaches 5 pixels of 16
    assert torch.equal(ms_ssim(made, true, weight), ms_ssim(other, true, weight))
    assert all(math.isnan(value) for value in ms_ssim(made, true, weight * 0).tolist())


def measured(made: Tensor, true: Tensor, **settings: Any) -> Score:
    known = torch.ones(len(true), 1, *true.shape[2:])
    known[:, :, 4:12, 4:12] = 0.0
    operator = Masking(known)
    metric: Metric = build(parse(Metric, {"kind": "ms_ssim", **settings}))
    metric.update(made, true, Observation(operator.forward(to_float(true)), operator, torch.ones_like(known)))
    return metric.compute()


def test_the_card_says_how_many_scales() -> None:
    card = measured(*pair(24, 24)).card
    assert card["scales"] == [2] and card["exponents"] == [exponents(2)] and "2 of 5" in card["warnings"][0]
    card = measured(*pair(176, 176)).card
    assert card["scales"] == [5] and "warnings" not in card


def test_labels() -> None:
    labels = {region: measured(*pair(24, 24), region=region).label for region in ("hole", "all", "ring")}
    assert labels == {"hole": "MS-SSIM", "all": "MS-SSIM (whole)", "ring": "MS-SSIM (ring)"}
