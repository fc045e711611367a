"""The short use: train on what is in memory, draw, restore, measure, save; and a dry run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sfumato
from sfumato.cli import main
from sfumato.data.digits import Digits
from sfumato.errors import CapabilityError, ConfigError, DataError, ShapeError
from sfumato.families.base import Family
from sfumato.images import read_picture, write_picture
from sfumato.kinds import kinds_of
from sfumato.model import Model, dataset

SMALL = {"family.width": 4, "budget.batch": 16, "data.name": "mine"}
WIDTH = {"family.width": 4, "budget.batch": 16}


def pixels(n: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def filler() -> Model:
    return sfumato.train(
        "ddpm", pixels(60, size=8), task=["inpainting", "generation"], images=64, settings=WIDTH, progress=False
    )


def test_what_was_trained_draws_restores_is_measured_and_saved(filler: Model, tmp_path: Path) -> None:
    assert filler.sample(3).shape == (3, 3, 8, 8) and torch.equal(filler.sample(3), filler.sample(5)[:3])
    picture = pixels(1, size=8)[0]
    mask = torch.zeros(8, 8, dtype=torch.uint8)
    mask[2:5, 3:6] = 255
    made = filler.restore(picture, mask=mask)
    kept = mask == 0
    assert torch.equal(made[:, kept], picture[:, kept]) and not torch.equal(made, picture)
    same = filler.restore(picture.permute(1, 2, 0).numpy(), mask=mask.bool())  # channels last, a mask of truths
    assert torch.equal(same, made)
    write_picture(picture, tmp_path / "p.png")
    write_picture(mask[None], tmp_path / "m.png")
    assert torch.equal(filler.restore(tmp_path / "p.png", mask=tmp_path / "m.png"), made)
    results = filler.evaluate(metrics=["l1"])
    assert {result.task for result in results} == {"inpainting", "generation"} and results[0].scores["L1"].n == 6
    temporary = filler.folder
    saved = filler.save(tmp_path / "saved")
    assert saved.folder == tmp_path / "saved" and temporary != saved.folder
    again = sfumato.load_run(tmp_path / "saved")
    assert torch.equal(again.sample(2), filler.sample(2)) and "ddpm" in again.card
    assert again.ledger.images == 64 and repr(again).startswith("<ddpm for inpainting, generation")


def test_the_record_is_true_and_the_images_are_asked_for_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = pixels(40, size=8)
    run = sfumato.train(
        "ddpm", images, task="inpainting", images=32, out=tmp_path / "r", settings=SMALL, progress=False
    )
    recorded = json.loads((tmp_path / "r/config.json").read_text())["data"]
    assert recorded["kind"] == "memory" and recorded["counts"] == [32, 4, 4] and recorded["shape"] == [3, 8, 8]
    again = sfumato.train(
        "ddpm", images.clone(), task="inpainting", images=32, out=tmp_path / "r", settings=SMALL, progress=False
    )
    assert again.ledger == run.ledger  # found, not trained again
    other = images.clone()
    other[7, 0, 0, 0] ^= 1
    with pytest.raises(ConfigError, match=r"holds another run .*data\.sha256"):
        sfumato.train("ddpm", other, task="inpainting", images=32, out=tmp_path / "r", settings=SMALL, progress=False)
    loaded = sfumato.load_run(tmp_path / "r")
    with pytest.raises(DataError, match="given in memory and are nowhere on disk; give them again"):
        loaded.evaluate(metrics=["l1"])
    assert loaded.evaluate(images, metrics=["psnr"])[0].scores["PSNR"].n == 4
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(tmp_path / "r")])
    assert stop.value.code == 2 and "give them again" in capsys.readouterr().err
    with pytest.raises(ShapeError, match="images of 3 x 12 x 12, this model makes 3 x 8 x 8"):
        loaded.evaluate(pixels(20, size=12))


def test_every_form_of_data_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dataset("digits") == ("digits", None)
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    assert dataset("pictures")[0] == {"kind": "folder", "path": str(tmp_path / "pictures")}
    assert dataset(tmp_path / "a.npz")[0] == {"kind": "npz", "path": str(tmp_path / "a.npz")}
    assert dataset(Digits.Config(train=8)) == (Digits.Config(train=8), None)
    images = np.zeros((20, 8, 8), dtype=np.uint8)
    images[:, 0, 0] = range(20)
    told, given = dataset((images, torch.arange(20) % 3))
    assert given is not None and given.classes == 3 and told.counts == (16, 2, 2)
    assert dataset(given)[0].sha256 == told.sha256 != dataset(images)[0].sha256
    few = dataset(images[:1])[1]
    assert few is not None and [len(few.train), len(few.test)] == [1, 0]
    for wrong, words in ((3, "data is a int"), (images.astype(np.float32), "save uint8"), (images[0], "shape")):
        with pytest.raises(DataError, match=words):
            dataset(wrong)


def test_labels_are_heard(tmp_path: Path) -> None:
    data = Digits(Digits.Config(train=64, validation=8, test=8)).load()
    run = sfumato.train("ddpm", data, images=640, settings={**WIDTH, "family.labels": True}, progress=False)
    assert not torch.equal(run.sample(1, label=1), run.sample(1, label=2))


def test_a_run_to_go_on_from_and_an_out_folder(filler: Model, tmp_path: Path) -> None:
    tuned = sfumato.train(
        data=pixels(40, size=8), task="inpainting", images=32, start=filler, out=tmp_path / "t", progress=False
    )
    assert tuned.config.family.width == 4 and "Fine-tuned: kept" in tuned.card
    with pytest.raises(ConfigError, match=r"is there already; choose another folder"):
        tuned.save(tmp_path / "t")
    with pytest.raises(CapabilityError, match="not for generation"):
        tuned.sample()
    with pytest.raises(ConfigError, match="name a family"):
        sfumato.train(data="digits")


def test_a_dry_run_says_what_it_takes_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plans = [sfumato.plan("wgan", "digits", images=images, settings=WIDTH) for images in (10_000, 1_000_000)]
    assert plans[1].flops == pytest.approx(100 * plans[0].flops, rel=0.05)
    assert 20 < plans[1].seconds / plans[0].seconds < 500 and plans[0].peak_bytes > 1 << 20
    run = sfumato.train("wgan", "digits", images=960, settings=WIDTH, progress=False)
    whole = sfumato.plan("wgan", "digits", images=960, settings=WIDTH)
    assert whole.flops == pytest.approx(run.ledger.flops, rel=0.01) and str(whole).startswith("wgan: ")
    fitted = sfumato.plan("gaussian", "digits")
    assert fitted.images == len(Digits(Digits.Config()).load().train)
    with pytest.raises(SystemExit) as stop:
        main(["train", "ddpm", "--images", "100000", "--set", "family.width=4", "--dry-run", "--device", "cpu"])
    assert stop.value.code == 0 and "for 100,000 images" in " ".join(capsys.readouterr().out.split())
    assert not list(tmp_path.iterdir())


def test_the_picture_has_to_fit(filler: Model, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="the picture is 6 x 6, smaller than the 8 x 8 that this model fills"):
        filler.restore(pixels(1, size=6)[0], mask=np.full((6, 6), 255, np.uint8) * np.eye(6, dtype=np.uint8))
    grey = pixels(1, size=8)[0, :1]
    assert filler.restore(grey, mask=np.eye(8, dtype=np.uint8) * 255).shape == (1, 8, 8)
    sheet = tmp_path / "sheet.png"
    write_picture(filler.sample(1)[0], sheet)
    assert read_picture(sheet).shape == (3, 8, 8)


def test_a_family_of_one_s_own_is_recorded_with_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_for_tests.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    import mine_for_tests  # type: ignore[import-not-found]

    run = sfumato.train(mine_for_tests.Mine, pixels(40, size=8), task="inpainting", images=64, progress=False)
    kinds_of(Family).pop("mine-for-tests")  # it is only for this test
    assert run.config.plugins == ["mine_for_tests"]
    picture: Any = pixels(1, size=8)[0]
    assert run.restore(picture, mask=np.eye(8, dtype=np.uint8) * 255).shape == (3, 8, 8)


OWN = '''
from typing import Literal

from torch import nn

from sfumato.config import Strict
from sfumato.families.base import Family, Objective, Player, weighted_mean, weights


class Mine(Family):
    """My own module, trained to say what is missing."""

    class Config(Strict):
        kind: Literal["mine-for-tests"] = "mine-for-tests"

    def build(self):
        self.network = nn.Conv2d(self.spec.condition, self.spec.channels, 5, padding=2)

    def players(self, stage):
        return [Player("network", [weights(self.network)], [Objective(self.loss)])]

    def loss(self, batch):
        error = (self.network(batch.condition.image) - batch.x).abs()
        return {"error": weighted_mean(error, batch.observation.weight)}

    def draw(self, n, condition, size, rng):
        return self.network(condition.image)
'''
