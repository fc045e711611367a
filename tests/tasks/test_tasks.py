"""The tasks: what is observed, where a loss looks, and operators that can be cut to fewer images."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError, DataError, ShapeError
from sfumato.kinds import build, discover, parse
from sfumato.streams import stream
from sfumato.tasks.base import Observation, Task, region_weight
from sfumato.tasks.blur import Blur
from sfumato.tasks.down_sampling import BlockMean, CubicDown
from sfumato.tasks.operators import Identity, Luma, Masking, Nothing, Unknown

TASKS = [
    {"kind": "inpainting"},
    {"kind": "inpainting", "mask": "strokes"},
    {"kind": "outpainting"},
    {"kind": "super_resolution", "scale": 2},
    {"kind": "super_resolution", "scale": 4, "law": "bicubic", "preview": "pinv"},
    {"kind": "generation"},
    {"kind": "denoising"},
    {"kind": "deblurring"},
    {"kind": "deblurring", "blur": "motion", "noise": 0.0},
    {"kind": "colourisation"},
]
OPERATORS = [Masking, Masking, Masking, BlockMean, CubicDown, Nothing, Identity, Blur, Blur, Luma]
each = pytest.mark.parametrize("task", TASKS, ids=str)
sizes = pytest.mark.parametrize("size", [(16, 16), (24, 40)], ids=str)


def test_every_task_is_here() -> None:
    assert {task["kind"] for task in TASKS} | {"translation"} <= set(discover(Task))


def images(n: int = 4, size: int | tuple[int, int] = 16, channels: int = 3) -> Tensor:
    rows, columns = (size, size) if isinstance(size, int) else size
    return torch.rand(n, channels, rows, columns, generator=torch.Generator().manual_seed(n)) * 2 - 1


def observe(task: dict[str, object], x: Tensor) -> Observation:
    return build(parse(Task, task)).observe(x, [stream(0, "mask", i) for i in range(len(x))])


@each
@sizes
@pytest.mark.parametrize("channels", [1, 3])
def test_the_condition_has_one_shape(task: dict[str, object], channels: int, size: tuple[int, int]) -> None:
    if task["kind"] == "colourisation" and channels == 1:
        pytest.skip("grey pictures have no colour to lose")
    observation = observe(task, images(size=size, channels=channels))
    assert observation.image.shape == (4, channels + 1, *size) and len(observation) == 4
    assert torch.equal(observation.image[:, -1:], observation.known)
    assert torch.equal(observation.image[:, :-1], observation.preview)
    assert observation.weight.shape == observation.known.shape == (4, 1, *size)


@each
@sizes
def test_some_of_the_images(task: dict[str, object], size: tuple[int, int]) -> None:
    whole = observe(task, images(size=size))
    part = whole.pick(slice(1, 3))
    assert len(part) == 2 and part.noise == whole.noise
    assert torch.equal(part.image, whole.image[1:3]) and torch.equal(part.weight, whole.weight[1:3])
    x = images(5, size)[:4]
    projected = part.operator.project(x[1:3], part.y)
    torch.testing.assert_close(projected, whole.operator.project(x, whole.y)[1:3], atol=1e-5, rtol=0)
    if part.exact:
        torch.testing.assert_close(part.operator.forward(projected), part.y, atol=1e-5, rtol=0)
    torch.testing.assert_close(part.project(x[1:3]), whole.project(x)[1:3], atol=1e-5, rtol=0)
    assert len(whole.pick(slice(3, 100))) == 1
    assert torch.equal(whole.pick(torch.tensor([2, 0])).y, whole.y[[2, 0]])


@each
def test_moving_to_the_same_device_changes_nothing(task: dict[str, object]) -> None:
    whole = observe(task, images())
    moved = whole.to("cpu")
    assert torch.equal(moved.image, whole.image) and len(moved) == len(whole) and moved.noise == whole.noise


@each
@sizes
def test_the_condition_does_not_see_what_was_lost(task: dict[str, object], size: tuple[int, int]) -> None:
    x = images(size=size)
    observation = observe(task, x)
    operator = observation.operator
    hidden = x + (torch.ones_like(x) - operator.pinv(operator.forward(torch.ones_like(x)))) * 0.3
    noise = observation.y - operator.forward(x)
    if observation.exact:
        assert not noise.any()
    again = Observation(operator.forward(hidden) + noise, operator, observation.weight, observation.noise)
    torch.testing.assert_close(again.image, observation.image, atol=1e-5, rtol=0)


@each
def test_an_observation_does_not_depend_on_the_batch(task: dict[str, object]) -> None:
    x = images(size=(24, 40))
    whole = observe(task, x)
    made = build(parse(Task, task))
    alone = [made.observe(x[i : i + 1], [stream(0, "mask", i)]) for i in range(4)]
    for name in ("y", "image", "weight"):
        apart = torch.cat([getattr(one, name) for one in alone])
        torch.testing.assert_close(apart, getattr(whole, name), atol=1e-6, rtol=0)
    at_once = made.observe(x, stream(0, "mask"))
    assert at_once.y.shape == whole.y.shape and at_once.noise == whole.noise


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
    with pytest.raises(ConfigError, match=f"multiples of 4; these are {size} x {size}"):
        observe({"kind": "super_resolution", "scale": 4}, images(1, size))


@pytest.mark.parametrize("size", [(24, 42), (42, 24)])
def test_super_resolution_checks_both_sides(size: tuple[int, int]) -> None:
    task = build(parse(Task, {"kind": "super_resolution", "scale": 4}))
    with pytest.raises(ConfigError, match=f"multiples of 4; these are {size[0]} x {size[1]}"):
        task.check(DataSpec(channels=3, size=size))
    task.check(DataSpec(channels=3, size=(24, 40)))


def test_super_resolution_scales_have_their_own_names() -> None:
    names = {build(parse(Task, {"kind": "super_resolution", "scale": scale})).name for scale in (2, 4)}
    assert names == {"super_resolution-x2", "super_resolution-x4"}


@pytest.mark.parametrize(
    ("task", "operator"),
    list(zip(TASKS, OPERATORS, strict=True)),
    ids=str,
)
def test_each_task_has_its_operator(task: dict[str, object], operator: type) -> None:
    assert type(observe(task, images()).operator) is operator


@pytest.mark.parametrize("operator", [BlockMean, CubicDown])
def test_previews_are_full_size(operator: type) -> None:
    y = torch.full((2, 3, 4, 4), 0.4)
    torch.testing.assert_close(operator(2, (16, 16), 4, True).preview(y), torch.full((2, 3, 16, 16), 0.4))
    exact = operator(2, (16, 16), 4, False)
    assert torch.equal(exact.preview(y), exact.pinv(y)) and exact.preview(y).shape == (2, 3, 16, 16)


def test_outpainting_shows_a_window_of_the_shape_of_the_image() -> None:
    known = observe({"kind": "outpainting", "visible": 0.5}, images(2, (24, 40))).known
    expected = torch.zeros(2, 1, 24, 40)
    expected[:, :, 6:18, 10:30] = 1
    assert torch.equal(known, expected)


@each
def test_where_a_loss_looks(task: dict[str, object]) -> None:
    observation = observe(task, images(size=(24, 40)))
    hides = observation.operator.hides
    expected = 1 - observation.operator.known if hides else torch.ones_like(observation.known)
    assert torch.equal(observation.weight, expected)
    assert hides == (task["kind"] in ("inpainting", "outpainting"))


# Noise


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("sigma", [0.05, 0.3])
def test_denoising_adds_the_stated_noise(sigma: float, at_once: bool) -> None:
    x = images(4, (24, 40))
    task = build(parse(Task, {"kind": "denoising", "sigma": sigma}))
    seen = task.observe(x, stream(0, "mask") if at_once else [stream(0, "mask", i) for i in range(4)])
    noise = (seen.y - x).double()
    n = noise.numel()
    assert seen.noise == task.noise == sigma
    assert abs(float(noise.mean())) < 4 * sigma / math.sqrt(n)
    assert float(noise.std()) == pytest.approx(sigma, abs=4 * sigma / math.sqrt(2 * n))
    assert float(noise.pow(4).mean() / noise.pow(2).mean() ** 2) == pytest.approx(3, abs=4 * math.sqrt(24 / n))
    correlation = torch.corrcoef(noise.flatten(1)) - torch.eye(4)  # each image has noise of its own
    assert float(correlation.abs().max()) < 4.5 / math.sqrt(n / 4)


def test_nothing_of_a_noisy_picture_is_known() -> None:
    x = images()
    seen = observe({"kind": "denoising"}, x)
    assert not seen.exact and (seen.known == 0).all() and (seen.weight == 1).all()
    assert torch.equal(seen.preview, seen.y) and torch.equal(seen.image, torch.cat([seen.y, seen.known], 1))
    assert torch.equal(seen.project(images(5)[:4]), images(5)[:4])
    part = seen.pick(slice(1, 3))
    assert (part.known == 0).all() and torch.equal(part.project(x[1:3]), x[1:3])


def test_denoising_needs_noise() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        parse(Task, {"kind": "denoising", "sigma": 0.0})


@pytest.mark.parametrize("law", ["gaussian", "motion"])
def test_a_blur_binds_unless_there_is_noise(law: str) -> None:
    x, other = images(size=(24, 40)), images(5, (24, 40))[:4]
    exact = observe({"kind": "deblurring", "blur": law, "noise": 0.0}, x)
    noisy = observe({"kind": "deblurring", "blur": law, "noise": 0.1}, x)
    assert exact.exact and not noisy.exact and noisy.noise == 0.1
    assert torch.equal(noisy.project(other), other) and (noisy.known == 0).all()
    torch.testing.assert_close(exact.operator.forward(exact.project(other)), exact.y, atol=1e-5, rtol=0)
    assert torch.equal(exact.preview, exact.y)
    noise = noisy.y - noisy.operator.forward(x)
    assert float(noise.std()) == pytest.approx(0.1, abs=4 * 0.1 / math.sqrt(2 * noise.numel()))


def test_the_names_of_noisy_tasks() -> None:
    names = {
        "denoising": {"kind": "denoising"},
        "denoising-0.5": {"kind": "denoising", "sigma": 0.5},
        "deblurring": {"kind": "deblurring"},
        "deblurring-n0": {"kind": "deblurring", "noise": 0.0},
        "deblurring-motion": {"kind": "deblurring", "blur": "motion"},
        "deblurring-motion-9-n0.1": {"kind": "deblurring", "blur": {"kind": "motion", "length": 9}, "noise": 0.1},
        "deblurring-gaussian-3": {"kind": "deblurring", "blur": {"kind": "gaussian", "sigma": 3}},
        "colourisation": {"kind": "colourisation"},
        "translation": {"kind": "translation"},
    }
    for name, task in names.items():
        assert build(parse(Task, task)).name == name


# Colour


def test_colourisation_refuses_grey() -> None:
    task = build(parse(Task, {"kind": "colourisation"}))
    with pytest.raises(ConfigError, match="colourisation needs RGB images; these have 1 channels"):
        task.check(DataSpec(channels=1, size=8))
    task.check(DataSpec(channels=3, size=(24, 40)))
    with pytest.raises(ShapeError, match="these have 1"):
        observe({"kind": "colourisation"}, images(channels=1))


def test_colourisation_gives_the_brightness_exactly() -> None:
    x, other = images(size=(24, 40)), images(5, (24, 40))[:4]
    seen = observe({"kind": "colourisation"}, x)
    assert seen.exact and seen.y.shape == (4, 1, 24, 40) and (seen.known == 0).all()
    torch.testing.assert_close(seen.operator.forward(seen.project(other)), seen.y, atol=1e-5, rtol=0)


# Pairs


def test_translation_shows_the_other_picture() -> None:
    x, inputs, other = images(size=(24, 40)), images(5, (24, 40))[:4], images(6, (24, 40))[:4]
    seen = build(parse(Task, {"kind": "translation"})).observe(x, stream(0, "mask"), inputs)
    assert type(seen.operator) is Unknown and not seen.exact and seen.noise == 0
    assert torch.equal(seen.y, inputs) and torch.equal(seen.preview, inputs) and seen.image.shape == (4, 4, 24, 40)
    assert (seen.known == 0).all() and (seen.weight == 1).all() and torch.equal(seen.project(other), other)
    part = seen.pick(torch.tensor([3, 1])).to("cpu")
    assert torch.equal(part.y, inputs[[3, 1]]) and len(part) == 2


def test_translation_needs_pairs() -> None:
    task = build(parse(Task, {"kind": "translation"}))
    assert task.paired and not any(build(parse(Task, other)).paired for other in TASKS)
    with pytest.raises(DataError, match="translation needs pairs of pictures; use a source that gives them"):
        task.observe(images(), stream(0, "mask"))


@pytest.mark.parametrize("kind", ["inpainting", "outpainting", "super_resolution"])
def test_noise_is_in_what_is_given_alone(kind: str) -> None:
    x, noise = torch.zeros(64, 3, 16, 16), 0.25
    quiet, noisy = observe({"kind": kind}, x), observe({"kind": kind, "noise": noise}, x)
    given = quiet.operator.forward(torch.ones_like(x)) > 0.5
    assert noisy.y[given].std().item() == pytest.approx(noise, rel=0.05)
    assert not noisy.y[~given].any() and noisy.noise == noise
    assert torch.equal(noisy.operator.known, quiet.operator.known)  # the same holes with and without
    assert not noisy.known.any() and not noisy.exact  # nothing binds, so all is made and scored
    assert bool((noisy.weight == 1).all())
    assert torch.equal(noisy.image[:, -1:], (1 - noise) * quiet.known)  # and a network is told where it was seen
    assert build(parse(Task, {"kind": kind, "noise": noise})).name == build(parse(Task, {"kind": kind})).name + "-n0.25"
