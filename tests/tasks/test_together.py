"""Tasks side by side in one batch: each image is seen, weighted and projected as its own task would."""

import pytest
import torch
from torch import Tensor

from sfumato.families.base import weighted_mean
from sfumato.streams import stream
from sfumato.tasks.base import Observation, Task
from sfumato.tasks.colourisation import Colourisation
from sfumato.tasks.denoising import Denoising
from sfumato.tasks.generation import Generation
from sfumato.tasks.inpainting import Inpainting
from sfumato.tasks.super_resolution import SuperResolution
from sfumato.tasks.together import Together

TASKS: list[Task] = [
    Inpainting(Inpainting.Config()),
    SuperResolution(SuperResolution.Config(scale=4)),
    Denoising(Denoising.Config(sigma=0.2)),
    Colourisation(Colourisation.Config()),
]
COUNTS = [3, 1, 2, 4]


@pytest.fixture
def x() -> Tensor:
    return torch.rand(sum(COUNTS), 3, 8, 8, generator=stream(0, "x")) * 2 - 1


@pytest.fixture
def parts(x: Tensor) -> list[Observation]:
    return [task.observe(piece, stream(0, "mask")) for task, piece in zip(TASKS, x.split(COUNTS), strict=True)]


def test_each_image_is_seen_and_projected_as_by_its_own_task(x: Tensor, parts: list[Observation]) -> None:
    seen, answer = Together(parts), x.flip(0)
    assert len(seen) == len(x) and not seen.empty
    for start, part in zip([0, 3, 4, 6], parts, strict=True):
        here = slice(start, start + len(part))
        assert torch.equal(seen.image[here], part.image)
        assert torch.equal(seen.known[here], part.known)
        assert torch.equal(seen.project(answer)[here], part.project(answer[here]))
    assert torch.equal(seen.project(answer)[4:6], answer[4:6]), "noise was projected on"


def test_a_loss_is_the_mean_of_the_tasks_own_by_their_images(x: Tensor, parts: list[Observation]) -> None:
    error = x.abs()
    alone = [weighted_mean(piece, part.weight) for piece, part in zip(error.split(COUNTS), parts, strict=True)]
    wanted = sum(n * loss for n, loss in zip(COUNTS, alone, strict=True)) / sum(COUNTS)
    torch.testing.assert_close(weighted_mean(error, Together(parts).weight), wanted)
    holes = torch.cat([part.weight for part in parts])
    assert not torch.isclose(weighted_mean(error, holes), wanted), "a hole counts no more than its pixels"


@pytest.mark.parametrize("places", [slice(2, 7), torch.tensor([9, 0, 4, 3, 1])])
def test_some_of_the_images_in_any_order(x: Tensor, parts: list[Observation], places: slice | Tensor) -> None:
    seen = Together(parts)
    some = seen.pick(places)
    assert len(some) == 5
    assert torch.equal(some.image, seen.image[places])
    assert torch.equal(some.project(x.flip(0)[places]), seen.project(x.flip(0))[places])


def test_nothing_is_measured_where_only_generating() -> None:
    free = Generation(Generation.Config()).observe(torch.zeros(2, 3, 8, 8), stream(0, "mask"))
    assert Together([free, free]).empty and free.empty
