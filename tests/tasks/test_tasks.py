"""The tasks: what is observed, where a loss looks, and operators that can be cut to fewer images."""

import pytest
import torch
from torch import Tensor

from sfumato.errors import ConfigError
from sfumato.kinds import build, parse
from sfumato.streams import stream
from sfumato.tasks.base import Observation, Task, region_weight
from sfumato.tasks.operators import BlockMean, CubicDown, Masking, Nothing

TASKS = [
    {"kind": "inpainting"},
    {"kind": "inpainting", "mask": "strokes"},
    {"kind": "outpainting"},
    {"kind": "super_resolution", "scale": 2},
    {"kind": "super_resolution", "scale": 4, "law": "bicubic", "preview": "pinv"},
    {"kind": "generation"},
]
each = pytest.mark.parametrize("task", TASKS, ids=str)


def images(n: int = 4, size: int = 16, channels: int = 3) -> Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(n)) * 2 - 1


def observe(task: dict[str, object], x: Tensor) -> Observation:
    return build(parse(Task, task)).observe(x, [stream(0, "mask", i) for i in range(len(x))])


@each
@pytest.mark.parametrize("channels", [1, 3])
def test_the_condition_has_one_shape(task: dict[str, object], channels: int) -> None:
    observation = observe(task, images(channels=channels))
    assert observation.condition.shape == (4, channels + 1, 16, 16) and len(observation) == 4
    assert torch.equal(observation.condition[:, -1:], observation.known)
    assert torch.equal(observation.condition[:, :-1], observation.preview)
    assert observation.weight.shape == observation.known.shape == (4, 1, 16, 16)


@each
def test_some_of_the_images(task: dict[str, object]) -> None:
    whole = observe(task, images())
    part = whole.pick(slice(1, 3))
    assert len(part) == 2
    assert torch.equal(part.condition, whole.condition[1:3]) and torch.equal(part.weight, whole.weight[1:3])
    x = images(2)
    assert torch.equal(
        part.operator.project(x, part.y), whole.operator.project(x.repeat(2, 1, 1, 1)[:4], whole.y)[1:3]
    ) or (torch.allclose(part.operator.forward(part.operator.project(x, part.y)), part.y, atol=1e-5))
    assert len(whole.pick(slice(3, 100))) == 1


@each
def test_moving_to_the_same_device_changes_nothing(task: dict[str, object]) -> None:
    whole = observe(task, images())
    moved = whole.to("cpu")
    assert torch.equal(moved.condition, whole.condition) and len(moved) == len(whole)


@each
def test_the_condition_does_not_see_what_was_lost(task: dict[str, object]) -> None:
    x = images()
    observation = observe(task, x)
    hidden = (
        x + (torch.ones_like(x) - observation.operator.pinv(observation.operator.forward(torch.ones_like(x)))) * 0.3
    )
    again = Observation(observation.operator.forward(hidden), observation.operator, observation.weight)
    torch.testing.assert_close(again.condition, observation.condition, atol=1e-5, rtol=0)


def test_region_weight() -> None:
    known = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).view(1, 1, 2, 2)
    none = torch.zeros(1, 1, 2, 2)
    assert torch.equal(region_weight(known, "unknown"), 1 - known)
    assert torch.equal(region_weight(known, "known"), known)
    assert torch.equal(region_weight(known, "all"), torch.ones_like(known))
    assert torch.equal(region_weight(none, "known"), torch.ones_like(known))  # an empty region would have no mean
    assert torch.equal(region_weight(torch.cat([known, none]), "known"), torch.cat([known, none + 1]))


@pytest.mark.parametrize(("visible", "size", "side"), [(0.625, 32, 20), (0.5, 8, 4), (0.99, 8, 7), (0.01, 8, 1)])
def test_outpainting_shows_a_centred_square(visible: float, size: int, side: int) -> None:
    known = observe({"kind": "outpainting", "visible": visible}, images(2, size)).known
    assert torch.equal(known.sum(dim=(1, 2, 3)), torch.full((2,), float(side * side)))
    rows = known[0, 0].any(1).nonzero()[:, 0]
    margin = int(rows[0]), size - 1 - int(rows[-1])
    assert abs(margin[0] - margin[1]) <= 1


@pytest.mark.parametrize("size", [10, 2])
def test_super_resolution_refuses_sizes_that_do_not_divide(size: int) -> None:
    with pytest.raises(ConfigError, match="multiple of 4"):
        observe({"kind": "super_resolution", "scale": 4}, images(1, size))


def test_super_resolution_scales_have_their_own_names() -> None:
    names = {build(parse(Task, {"kind": "super_resolution", "scale": scale})).name for scale in (2, 4)}
    assert names == {"super_resolution-x2", "super_resolution-x4"}


@pytest.mark.parametrize(
    ("task", "operator"),
    list(zip(TASKS, [Masking, Masking, Masking, BlockMean, CubicDown, Nothing], strict=True)),
    ids=str,
)
def test_each_task_has_its_operator(task: dict[str, object], operator: type) -> None:
    assert type(observe(task, images()).operator) is operator


@pytest.mark.parametrize("operator", [BlockMean, CubicDown])
def test_previews_are_full_size(operator: type) -> None:
    y = torch.full((2, 3, 4, 4), 0.4)
    torch.testing.assert_close(operator(2, 16, 4, True).preview(y), torch.full((2, 3, 16, 16), 0.4))
    exact = operator(2, 16, 4, False)
    assert torch.equal(exact.preview(y), exact.pinv(y)) and exact.preview(y).shape == (2, 3, 16, 16)
