"""Whether other sets are found less likely: AUROC against scikit-learn, its interval against draws."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sfumato.data.base import DataSpec, Split
from sfumato.errors import CapabilityError, ConfigError
from sfumato.families.gaussian import Gaussian
from sfumato.maths.ranks import auroc, auroc_deviation
from sfumato.metrics.bits_per_dimension import BitsPerDimension
from sfumato.metrics.out_of_distribution import OutOfDistribution
from sfumato.streams import stream


def file(path: Path, pixels: torch.Tensor) -> dict[str, str]:
    images = pixels.permute(0, 2, 3, 1).numpy()
    np.savez(path, images=images, test_images=images)
    return {"kind": "npz", "path": str(path)}


def test_another_set_is_told_by_its_bits(tmp_path: Path) -> None:
    family = Gaussian(Gaussian.Config(), DataSpec(channels=1, size=(2, 2)))
    family.covariances.mul_(0.04)
    usual = (127 + 25 * torch.randn(300, 1, 2, 2, generator=stream(0, "usual"))).clamp(0, 255).byte()
    odd = (127 + 40 * torch.randn(200, 1, 2, 2, generator=stream(0, "odd"))).clamp(0, 255).byte()
    sets = {"wider": file(tmp_path / "wide.npz", odd), "same": file(tmp_path / "same.npz", usual)}
    metric = OutOfDistribution(OutOfDistribution.Config.model_validate({"sets": sets, "images": 250}))
    found = {score.label: score for score in metric.measure_model(family, Split(usual), seed=0, batch=64)}
    assert list(found) == ["bits/dim wider", "AUROC wider", "bits/dim same", "AUROC same"]
    plain = BitsPerDimension(BitsPerDimension.Config())
    (inside,) = plain.measure_model(family, Split(usual[:250]), seed=0, batch=64)
    (outside,) = plain.measure_model(family, Split(odd), seed=0, batch=64)
    assert found["bits/dim wider"].value == pytest.approx(outside.value)
    labels = [0] * 250 + [1] * 200
    assert found["AUROC wider"].value == pytest.approx(roc_auc_score(labels, inside.samples + outside.samples))
    assert found["AUROC wider"].value > 0.6 and found["AUROC same"].value == pytest.approx(0.5)
    assert found["AUROC wider"].low < found["AUROC wider"].value < found["AUROC wider"].high  # type: ignore[operator]


def test_the_deviation_is_that_of_draws() -> None:
    areas = []
    for i in range(400):
        a, b = torch.randn(2, 60, generator=stream(i, "x"))
        areas.append(auroc(a, b + 1.0))
    assert float(np.std(areas)) == pytest.approx(auroc_deviation(float(np.mean(areas)), 60, 60), rel=0.1)


def test_sets_of_another_size_are_refused(tmp_path: Path) -> None:
    family = Gaussian(Gaussian.Config(), DataSpec(channels=1, size=(2, 2)))
    sets = {"large": file(tmp_path / "large.npz", torch.zeros(4, 1, 3, 2, dtype=torch.uint8))}
    metric = OutOfDistribution(OutOfDistribution.Config.model_validate({"sets": sets}))
    with pytest.raises(ConfigError, match=r"large has images of 1 x 3 x 2 .* the study 1 x 2 x 2"):
        metric.measure_model(family, Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8)), seed=0, batch=2)


def test_what_hears_labels_rates_no_other_sets() -> None:
    family = Gaussian(Gaussian.Config(labels=True), DataSpec(channels=1, size=(2, 2), classes=3))
    metric = OutOfDistribution(OutOfDistribution.Config())
    with pytest.raises(CapabilityError, match="hears labels"):
        metric.measure_model(family, Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8)), seed=0, batch=2)
