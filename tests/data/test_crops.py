"""Crops of a folder's photographs: photographs in one part only, lively places, plain words for what gives none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sfumato
from sfumato.data.base import source_of
from sfumato.data.crops import Crops, box_sums, crops, detail
from sfumato.errors import DataError


def noise(path: Path, red: int, width: int = 90, height: int = 60) -> None:
    array = np.random.default_rng(red).integers(0, 256, (height, width, 3), dtype=np.uint8)
    array[:, :, 0] = red
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def folder(tmp_path: Path) -> Path:
    for red, name in enumerate(("train/a.png", "train/b.png", "validation/c.png", "test/d.png")):
        noise(tmp_path / name, 50 * red)
    return tmp_path


def test_each_photograph_is_in_the_part_of_its_folder(tmp_path: Path) -> None:
    data = Crops(Crops.Config(path=folder(tmp_path), size=16, each=30)).load()
    reds = [part.images[:, 0, 0, 0].unique().tolist() for part in (data.train, data.validation, data.test)]
    assert reds == [[0, 50], [100], [150]] and [len(data.train), len(data.test)] == [60, 30]
    assert set(data.train.images[:12, 0, 0, 0].tolist()) == {0, 50}  # the first ones show all of them
    again = Crops(Crops.Config(path=tmp_path, size=16, each=30)).load()
    assert torch.equal(again.train.images, data.train.images)


def test_a_dull_photograph_gives_what_it_has_and_a_part_without_crops_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (90, 60), "grey").save(folder(tmp_path) / "train" / "wall.png")
    assert len(Crops(Crops.Config(path=tmp_path, size=16, each=30)).load().train) == 60
    Image.new("RGB", (90, 60), "black").save(tmp_path / "test" / "d.png")
    with pytest.raises(DataError, match="1 photograph in test, and no crop of 16 pixels that shows anything"):
        Crops(Crops.Config(path=tmp_path, size=16)).load()
    with pytest.raises(DataError, match="3 photographs in train"):
        Crops(Crops.Config(path=tmp_path, size=128)).load()


def test_broken_and_copied_files_are_refused_as_a_folder_does(tmp_path: Path) -> None:
    (folder(tmp_path) / "train" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="1 of 5 pictures cannot be read"):
        Crops(Crops.Config(path=tmp_path, size=16)).load()
    (tmp_path / "train" / "broken.png").unlink()
    (tmp_path / "test" / "again.png").write_bytes((tmp_path / "train" / "a.png").read_bytes())
    with pytest.raises(DataError, match="1 picture lies in more than one part"):
        Crops(Crops.Config(path=tmp_path, size=16)).load()


def test_a_plain_photograph_gives_no_crops() -> None:
    assert crops("wall.png", Image.new("RGB", (300, 200), "grey"), 10, 32).shape == (0, 3, 32, 32)


def test_a_folder_is_still_read_as_whole_pictures(tmp_path: Path) -> None:
    assert source_of(str(tmp_path))["kind"] == "folder"


def test_detail_agrees_with_numpy_at_every_place() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, 11, 13), dtype=np.uint8)
    found = detail(picture, 6)
    assert found.shape == (6, 8)
    for row, column in np.ndindex(found.shape):
        crop = picture[:, row : row + 6, column : column + 6].mean(axis=0)
        quarters = [crop[:3, :3].std(), crop[:3, 3:].std(), crop[3:, :3].std(), crop[3:, 3:].std()]
        assert found[row, column] == pytest.approx(sorted(quarters)[1])


def test_box_sums_agree_with_slices() -> None:
    values = np.random.default_rng(1).integers(0, 100, (5, 7))
    assert box_sums(values, 3)[1, 2] == values[1:4, 2:5].sum()


def test_licences_of_the_training_photographs_go_on_the_card(tmp_path: Path) -> None:
    (folder(tmp_path) / "LICENCES.tsv").write_text(
        "file\tlicence\tauthor\na.png\tCC0-1.0\tA. Nother\nb.png\tCC-BY-4.0\t\nd.png\tnone\tx\n"
    )
    data = {"kind": "crops", "path": str(tmp_path), "size": 16, "each": 30}
    model = sfumato.train("wgan", data, images=16, settings={"family.width": 4, "budget.batch": 8}, progress=False)
    assert "- Trained on a.png: CC0-1.0, A. Nother\n- Trained on b.png: CC-BY-4.0\n" in model.card
    assert "d.png" not in model.card
    (tmp_path / "LICENCES.tsv").write_text("file\tlicence\na.png\tCC0-1.0\n")
    with pytest.raises(DataError, match=r"LICENCES\.tsv says nothing of train/b\.png"):
        Crops(Crops.Config(path=tmp_path, size=16)).load()


def test_an_odd_size_and_a_small_photograph_whose_scales_are_one(tmp_path: Path) -> None:
    data = Crops(Crops.Config(path=folder(tmp_path), size=15, each=5000)).load()
    assert data.spec.size == (15, 15)
    rows = data.test.images.flatten(1).numpy()
    assert len({row.tobytes() for row in rows}) == len(rows) > 1000, "all crops are different"


def test_a_table_of_licences_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (folder(tmp_path) / "LICENCES.tsv").write_bytes("file\tlicence\na.png\tCC0, J\xe4ger\n".encode("latin-1"))
    with pytest.raises(DataError, match="no text in UTF-8"):
        Crops(Crops.Config(path=tmp_path, size=16)).load()
