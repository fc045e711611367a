"""Metrics of textures: the patches' laws along directions, and what was copied from where."""

import numpy as np
import pytest
import torch

from sfumato.maths.sliced import directions
from sfumato.metrics.copied import Copied, provenance, shown
from sfumato.metrics.patch_sliced import PatchSliced
from sfumato.streams import stream
from sfumato.tasks.texture import Texture


def picture(seed: int, rows: int = 40, columns: int = 40) -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, rows, columns), generator=stream(seed, "picture"), dtype=torch.uint8)


def observed(true: torch.Tensor):  # type: ignore[no-untyped-def]
    return Texture(Texture.Config()).observe(true.float() / 255, stream(0, "mask"))


def score(metric, made: torch.Tensor, true: torch.Tensor) -> float:  # type: ignore[no-untyped-def]
    metric.update(made, true, observed(true))
    return float(metric.compute().value)


def test_patch_sliced_is_the_mean_of_sorted_projections_by_hand() -> None:
    made, true = picture(0), picture(1) // 2
    config = PatchSliced.Config(patch=3, scales=2, directions=5)
    total = 0.0
    for s in range(2):
        rows = []
        for x in (made, true):
            level = x[0].double().numpy()
            if s:
                level = level.reshape(3, 20, 2, 20, 2).mean((2, 4))
            side = level.shape[1] - 2
            rows.append(np.stack([level[:, i : i + 3, j : j + 3].ravel() for i in range(side) for j in range(side)]))
        theta = directions(5, 27, stream(0, "patch sliced", s)).double().numpy()
        along = [np.sort(theta @ one.T, axis=1) for one in rows]
        total += ((along[0] - along[1]) ** 2).mean()
    assert score(PatchSliced(config), made, true) == pytest.approx(total / 2, rel=1e-6)
    assert score(PatchSliced(config), made, made) == 0


def test_patch_sliced_of_brighter_pictures_is_the_square_of_the_step() -> None:
    """Constants c apart: along a unit direction they are c sum(theta) apart, c^2 in the mean of the squares."""
    made, true = torch.full((1, 3, 32, 32), 130, dtype=torch.uint8), torch.full((1, 3, 32, 32), 100, dtype=torch.uint8)
    assert score(PatchSliced(PatchSliced.Config(directions=4000)), made, true) == pytest.approx(900, rel=0.1)


def test_what_is_pasted_is_copied_and_its_places_are_told() -> None:
    true, made = picture(1), picture(2)
    made[..., 5:25, 10:30] = true[..., 12:32, 3:23]
    found = provenance(made[0], true[0], 8, 1.0)
    assert found.same.shape == (33, 33)
    assert int(found.same.sum()) == 13 * 13
    inside = found.same.nonzero()
    assert (found.row[found.same] == inside[:, 0] + 7).all()
    assert (found.column[found.same] == inside[:, 1] - 7).all()
    assert score(Copied(Copied.Config()), made, true) == pytest.approx(169 / 33**2)
    assert score(Copied(Copied.Config()), true, true) == 1
    assert score(Copied(Copied.Config()), picture(3), true) == 0
    assert shown(found, true[0]).shape == (3, 33, 33)


def test_a_copy_with_a_little_noise_is_one_and_with_much_is_none() -> None:
    true = picture(1)
    noise = torch.randint(-2, 3, true.shape, generator=stream(0, "noise"))
    near = (true.int() + noise).clamp(0, 255).to(torch.uint8)
    far = (true.int() + 10 * noise).clamp(0, 255).to(torch.uint8)
    assert score(Copied(Copied.Config()), near, true) > 0.99
    assert score(Copied(Copied.Config()), far, true) < 0.01
