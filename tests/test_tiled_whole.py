"""Pictures of any size through a model of one size: tiles that join, borders, progress, and how it is stopped."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import sfumato
from sfumato.errors import CapabilityError, ConfigError, DataError, ShapeError
from sfumato.maths.regions import Box, Region, regions
from sfumato.model import Model
from sfumato.restorers.border import bordered, rings, sides
from sfumato.restorers.picture import restore_file, restore_picture
from sfumato.restorers.tiled_fill import fill_tiled, parts
from sfumato.restorers.tiled_whole import make_tiled, tiles
from sfumato.streams import stream

from .cases import call, pixels, refused

Capsys = pytest.CaptureFixture[str]


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=stream(0, "noise"), dtype=torch.uint8)


def train(task: object, family: str = "regression", images: int = 64, **more: object) -> Model:
    settings = {"family.width": 4, "budget.batch": 8, **more}
    return sfumato.train(family, noise(32, 3, 8, 8), task=task, images=images, settings=settings, progress=False)


@pytest.fixture(scope="module")
def enlarger() -> Model:
    return train("super_resolution", **{"tasks.0.scale": 2})


@pytest.fixture(scope="module")
def filler() -> Model:
    return train("inpainting")


def twice(part: Tensor, first: int) -> Tensor:
    return part.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (3, 5), (1, 1), (40, 8), (100, 70)])
def test_tiles_of_what_needs_no_surroundings_are_the_whole(size: tuple[int, int]) -> None:
    x = noise(3, *size)
    assert torch.equal(make_tiled(x, (8, 8), 2, twice), twice(x[None], 0)[0])


@pytest.mark.parametrize("picture", [(8, 8), (9, 31), (50, 33)])
def test_tiles_cover_the_picture_and_lap(picture: tuple[int, int]) -> None:
    seen = torch.zeros(picture, dtype=torch.int32)
    boxes = list(tiles(picture, (8, 6)))
    for box in boxes:
        assert seen[box.place].shape == (8, 6)
        seen[box.place] += 1
    assert int(seen.min()) >= 1 and len(set(boxes)) == len(boxes)
    for axis in (0, 1):
        starts = sorted({box[axis] for box in boxes})
        assert all(b - a <= 0.75 * (8, 6)[axis] + 1 for a, b in zip(starts, starts[1:], strict=False))


def test_tiles_that_disagree_leave_no_seam() -> None:
    numbers = iter(range(1000))

    def uneven(part: Tensor, first: int) -> Tensor:
        return torch.stack([torch.full_like(tile, 100 + 40 * (next(numbers) % 2)) for tile in part])

    made = make_tiled(torch.zeros(1, 16, 200, dtype=torch.uint8), (16, 16), 1, uneven).int()
    assert int(made.max()) - int(made.min()) > 30
    assert int(made.diff(dim=2).abs().max()) <= 13, "a step of 40 within the four pixels of an overlap"


def test_progress_is_told_and_may_end_the_work() -> None:
    told: list[tuple[int, int]] = []
    make_tiled(noise(3, 64, 64), (8, 8), 2, twice, lambda done, of: told.append((done, of)))
    assert told[-1][0] == told[-1][1] == len(list(tiles((64, 64), (8, 8)))) and len(told) > 2

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    hole = torch.zeros(64, 64, dtype=torch.bool)
    hole[10:20, 10:20] = True
    for work in (
        lambda: make_tiled(noise(3, 64, 64), (8, 8), 2, twice, stop),
        lambda: fill_tiled(noise(3, 64, 64), hole, (8, 8), lambda part, unknown, number: part, stop),
    ):
        with pytest.raises(KeyboardInterrupt):
            work()


def test_a_frame_is_taken_in_pieces_that_are_all_of_it() -> None:
    hole = torch.ones(300, 400, dtype=torch.bool)
    hole[20:280, 20:380] = False
    work = list(parts(hole, (16, 16)))
    again = torch.zeros(300, 400, dtype=torch.int32)
    for region, window in work:
        again[region.box.place] += region.mask.int()
        assert window.rows <= 200, "seen at the scale of its thickness"
    assert torch.equal(again, hole.int()) and len(work) > 8
    blob = torch.zeros(300, 400, dtype=torch.bool)
    blob[50:150, 60:200] = True
    assert len(list(parts(blob, (16, 16)))) == 1


def test_pieces_of_a_stroke_are_short() -> None:
    stroke = torch.eye(200, dtype=torch.bool)
    whole = next(iter(regions(stroke, 1)))
    assert isinstance(whole, Region) and whole.box == Box(0, 0, 200, 200)
    pieces = list(whole.pieces(1, 10))
    assert max(piece.box.rows for piece in pieces) <= 13 and sum(int(piece.mask.sum()) for piece in pieces) == 200


def test_sides_and_borders() -> None:
    assert sides((1, 2, 3, 4)) == (1, 2, 3, 4)
    x = torch.ones(2, 3, 4)
    made = bordered(x, (1, 2, 3, 4))
    assert made.shape == (2, 7, 10) and torch.equal(made[:, 1:4, 4:8], x) and float(made.sum()) == 24
    for wrong in (0, -1, (1, 2, 3), (0, 0, 0, 0), (1, 1, 1, -1)):
        with pytest.raises(ShapeError, match="one number above 0, or four"):
            sides(wrong)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="more than"):
        bordered(torch.zeros(1, 2, 2), 10**5)


def test_a_picture_goes_on_beyond_its_border(filler: Model) -> None:
    x = noise(3, 30, 40)
    for model in (filler.run, "telea"):
        made = restore_picture(x, model, border=(2, 0, 12, 6))
        assert made.pixels.shape == (3, 44, 46) and torch.equal(made.pixels[:, 2:32, 6:], x)
        assert made.hole is not None and int(made.hole.sum()) == 44 * 46 - 30 * 40
        assert bool((made.pixels[:, made.hole] != 0).any())
    with pytest.warns(UserWarning, match="larger than the 8 x 8"):
        again = filler.restore(x, border=4)
    assert again.shape == (3, 38, 48) and torch.equal(again[:, 4:-4, 4:-4], x)


def test_a_file_goes_on_with_all_it_says(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (20, 30), dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    restore_file(tmp_path / "deep.png", tmp_path / "out.png", "telea", border=(0, 5, 0, 0))
    deep = np.asarray(Image.open(tmp_path / "out.png"))
    assert deep.shape == (20, 35) and (deep[:, :30] == levels).all()
    colours = np.random.default_rng(1).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "glass.png", dpi=(72, 72))
    restore_file(tmp_path / "glass.png", tmp_path / "out.png", "telea", border=3)
    with Image.open(tmp_path / "out.png") as image:
        glass = np.asarray(image)
        assert round(image.info["dpi"][0]) == 72
    assert (glass[3:-3, 3:-3] == colours).all() and (glass[:3, :, 3] == 255).all()


def test_any_enlarger_enlarges_any_picture(enlarger: Model, tmp_path: Path) -> None:
    """Block means of the answer are the picture, to a level of rounding: tiles that agree are mixed so that they still do."""
    for size in ((4, 4), (13, 21), (2, 3), (40, 40)):
        x = noise(3, *size)
        made = restore_picture(x, enlarger.run, scale=2)
        assert made.pixels.shape == (3, 2 * size[0], 2 * size[1])
        means = made.pixels.float().view(3, size[0], 2, size[1], 2).mean((2, 4))
        assert float((means - x).abs().max()) <= 1
        assert not made.warnings
    with pytest.raises(CapabilityError, match="not trained to enlarge by 4"):
        enlarger.restore(noise(3, 9, 9), scale=4)


def test_what_needs_no_mask_works_on_any_picture_unless_it_looks_beyond_a_tile() -> None:
    denoiser = train("denoising")
    assert denoiser.restore(noise(3, 21, 10)).shape == (3, 21, 10)
    colouriser = train("colourisation")
    assert colouriser.restore(noise(1, 21, 10)).shape == (3, 21, 10)
    deblurrer = train("deblurring")
    assert deblurrer.restore(noise(3, 8, 8)).shape == (3, 8, 8)
    with pytest.raises(ShapeError, match="10 x 21; Blur looks beyond any tile"):
        deblurrer.restore(noise(3, 21, 10))


def test_a_model_of_generation_restores_by_the_restorer_that_is_named(tmp_path: Path, capsys: Capsys) -> None:
    maker = train("generation", "ddpm", **{"family.sampler.steps": 2})
    x, hole = noise(3, 20, 30), torch.zeros(20, 30, dtype=torch.uint8)
    hole[4:9, 5:12] = 255
    with pytest.raises(CapabilityError, match="not to restore; name what restores with it: --restorer ddnm"):
        maker.restore(x, mask=hole.numpy())
    made = restore_picture(x, maker.run, mask=hole, restorer="ddnm")
    assert torch.equal(made.pixels[:, hole == 0], x[:, hole == 0])
    assert maker.restore(x, scale=2, restorer="ddnm").shape == (3, 40, 60)
    with pytest.raises(ConfigError, match="--restorer ddnm says how a run restores; telea is none"):
        restore_picture(x, "telea", mask=hole, restorer="ddnm")
    with pytest.raises(ConfigError, match="asks no model; give it as --model telea"):
        restore_picture(x, maker.run, mask=hole, restorer="telea")


def test_border_on_the_command_line(tmp_path: Path, capsys: Capsys) -> None:
    Image.fromarray(noise(20, 30, 3).numpy()).save(tmp_path / "p.png")
    out = tmp_path / "r.png"
    assert call("restore", tmp_path / "p.png", "--border", "0,8,0,8", "--model", "telea", "--out", out) == 0
    assert pixels(out).shape[1::-1] == (46, 20)
    assert call("restore", tmp_path / "p.png", "--border", "4", "--model", "telea", "--out", out) == 0
    assert pixels(out).shape[1::-1] == (38, 28)
    for wrong in ("wide", "1,2", "-3", "0"):
        refused(capsys, "restore", tmp_path / "p.png", "--border", wrong, "--model", "telea", words="border")
    refused(capsys, "restore", tmp_path / "p.png", "--border", 3, "--scale", 2, "--model", "telea", words="give one of")


def test_what_is_hidden_tells_nothing_and_is_not_made(filler: Model) -> None:
    """A small cut-out: its surroundings mean nothing, but only the hole is made; enlarged, no dark rim shines into it."""
    x, hidden = noise(3, 90, 90), torch.ones(90, 90, dtype=torch.uint8)
    hidden[30:60, 30:60] = 0
    hole = torch.zeros(90, 90, dtype=torch.uint8)
    hole[40:46, 40:46] = 255
    made = restore_picture(x, filler.run, mask=hole, hidden=hidden)
    assert torch.equal(made.pixels[:, hole == 0], x[:, hole == 0])
    white = torch.where(hidden == 0, 255, 0).to(torch.uint8).expand(3, -1, -1).contiguous()
    large = restore_picture(white, "bicubic", scale=2, hidden=hidden).pixels
    assert int(large[:, 60:120, 60:120].min()) >= 250


def test_arrays_of_any_order_are_taken(filler: Model) -> None:
    x = noise(3, 30, 40)
    hole = np.zeros((30, 40), bool)
    hole[3:9, 5:11] = True
    first = restore_picture(x, "telea", mask=hole).pixels
    assert torch.equal(restore_picture(x.permute(1, 2, 0).numpy(), "telea", mask=torch.from_numpy(hole)).pixels, first)
    assert restore_picture(x, "telea", border=np.int64(2)).pixels.shape == (3, 34, 44)


def test_a_hole_too_large_for_the_memory_is_refused(filler: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfumato.restorers.tiled_fill.free_memory", lambda: 1000)
    hole = torch.zeros(60, 60, dtype=torch.uint8)
    hole[20:40, 20:40] = 255
    with pytest.raises(DataError, match=r"a hole of 20 x 20 needs 0\.0 GiB, more than the memory here"):
        filler.restore(noise(3, 60, 60), mask=hole)


def test_one_picture_that_cannot_be_filled_does_not_end_a_folder(filler: Model, tmp_path: Path, capsys: Capsys) -> None:
    for folder in ("in", "masks"):
        (tmp_path / folder).mkdir()
    for name, filled in (("a", 59), ("b", 20)):
        Image.fromarray(noise(60, 60, 3).numpy()).save(tmp_path / "in" / f"{name}.png")
        levels = np.zeros((60, 60), np.uint8)
        levels[1:filled, 1:filled] = 255
        Image.fromarray(levels).save(tmp_path / "masks" / f"{name}.png")
    command = ["restore", tmp_path / "in", "--mask", tmp_path / "masks", "--model", filler.folder]
    refused(capsys, *command, "--out", tmp_path / "out", words="1 picture of 2 could not be restored")
    assert (tmp_path / "out" / "b.png").is_file()


def test_a_wide_border_is_made_from_within(filler: Model) -> None:
    x = noise(3, 20, 16)
    made = restore_picture(x, filler.run, border=(40, 0, 3, 25))
    assert made.pixels.shape == (3, 63, 41) and torch.equal(made.pixels[:, 40:60, 25:], x)
    assert made.hole is not None and int(made.hole.sum()) == 63 * 41 - 20 * 16
    for size, border in (((20, 16), (40, 0, 3, 25)), ((1, 1), 5)):
        total = [sum(ring[k] for ring in rings(size, border)) for k in range(4)]
        assert tuple(total) == sides(border)
