"""Misuse: what once gave a wrong figure, a traceback or a lost file without a word, and now gives one line or the right one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from PIL import Image

from sfumato.data.imageset import from_array, from_folder, from_zip
from sfumato.errors import SfumatoError
from sfumato.evaluation import gallery
from sfumato.evaluation.evaluate import evaluate, found, measure, sample_of
from sfumato.evaluation.explain import explain
from sfumato.evaluation.request import Request
from sfumato.evaluation.sources import find
from sfumato.evaluation.statistics import load_statistics, save_statistics
from sfumato.evaluation.vectors import vectors
from sfumato.files import write_atomic
from tests.cases import TINY, call, refused
from tests.evaluation import Probe, folder, pixels, request

FAST = ["--features", "lite0", "--set", "features.layer=b4", "--set", "features.size=16", "--device", "cpu"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))


# 1. figures or pictures that are wrong and say nothing ----------------------------------------------------------------


def test_explain_sees_that_a_folder_was_overwritten_between_two_evaluations(tmp_path: Path) -> None:
    real = folder(tmp_path / "real", pixels(20, 2))
    one = evaluate(request(folder(tmp_path / "made", pixels(20, 1)), real))
    two = evaluate(request(folder(tmp_path / "made", pixels(20, 9)), real))  # the usual: samples/ written again
    (told,) = explain(one, two)
    assert told.gap != 0
    assert "made images" in {factor.name for factor in told.factors}
    assert not any("the two requests are the same" in note for note in told.notes)


def test_statistics_of_another_preparation_are_not_used_in_silence(tmp_path: Path) -> None:
    made, real = folder(tmp_path / "made", pixels(20, 1)), folder(tmp_path / "real", pixels(20, 2))
    probe = Probe(Probe.Config())
    save_statistics(sample_of(find(str(real)).resized(3), probe), probe, tmp_path / "s.safetensors")
    try:
        score = evaluate(request(made, tmp_path / "s.safetensors")).scores[0]
    except SfumatoError:
        return
    assert any("prepar" in line or "resize" in line for line in score.card["warnings"])


def test_n_real_of_statistics_is_not_ignored_in_silence(tmp_path: Path) -> None:
    made = folder(tmp_path / "made", pixels(20, 1))
    probe = Probe(Probe.Config())
    save_statistics(sample_of(find(str(made)), probe), probe, tmp_path / "s.safetensors")
    with pytest.raises(SfumatoError):
        evaluate(request(made, tmp_path / "s.safetensors", n_real=5))


def test_names_that_nearly_agree_are_not_paired_by_order(tmp_path: Path) -> None:
    x = pixels(8, 1)
    made = folder(tmp_path / "made", x[:7], [f"{i}.png" for i in range(7)])
    real = folder(tmp_path / "real", x[1:], [f"{i}.png" for i in range(1, 8)])  # six of seven names agree
    with pytest.raises(SfumatoError):
        evaluate(request(made, real, ["l1"]))  # today: every image meets its neighbour's truth


def test_two_subsets_are_not_paired_by_order(tmp_path: Path) -> None:
    made, real = folder(tmp_path / "made", pixels(8, 1)), folder(tmp_path / "real", pixels(16, 1))
    try:
        score = evaluate(request(made, real, ["l1"], n=4, n_real=4)).scores[0]
    except SfumatoError:
        return
    assert score.card["paired_by"] == "name"


def test_worst_pairs_are_those_that_were_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, real = folder(tmp_path / "made", pixels(8, 1)), folder(tmp_path / "real", pixels(8, 2))
    holes = np.zeros((8, 8, 8), np.uint8)
    holes[3:, :2] = 255  # nothing was made in the first three pictures, so they have no value
    wanted = request(made, real, ["l1"], masks=str(folder(tmp_path / "masks", holes)))
    sets = found(wanted)
    score = measure(wanted, sets=sets).evaluation.scores[0]
    shown: list[str] = []
    real_pick = type(sets.made).pick

    def pick(self: Any, places: Any) -> Any:
        shown.extend(self.entries[i].name for i in places)
        return real_pick(self, places)

    monkeypatch.setattr(type(sets.made), "pick", pick)
    gallery.worst_pairs(score, sets.made, sets.real)  # type: ignore[arg-type]
    assert not {"0000.png", "0001.png", "0002.png"} & set(shown)


def test_features_that_a_metric_names_are_used() -> None:
    wanted = Request(made="a", real="b", metrics=[{"kind": "frechet", "features": "lite0"}])
    assert wanted.metrics[0].features.kind == "lite0"  # type: ignore[attr-defined]


def test_the_request_says_which_features_were_used(tmp_path: Path) -> None:
    made = folder(tmp_path / "made", pixels(20, 1))
    values = json.loads(evaluate(request(made, made, ["kid"])).to_json())
    assert values["request"]["metrics"][0].get("features", values["request"]["features"])["kind"] == "probe"


def test_a_part_of_a_zip_is_that_part(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for part in ("train", "test"):
            place = folder(tmp_path / part, pixels(3, len(part)))
            for path in place.iterdir():
                archive.write(path, f"{part}/{path.name}")
    try:
        images = find(f"{tmp_path / 'x.zip'}:test")
    except SfumatoError:
        return
    assert len(images) == 3  # today: all six, called the test part


def test_a_key_of_an_npy_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", pixels(3))
    with pytest.raises(SfumatoError):
        find(f"{tmp_path / 'x.npy'}:elsewhere")


def test_one_colour_picture_is_not_many_grey_ones(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=pixels(1)[0])  # [8, 8, 3]
    with pytest.raises(SfumatoError):
        find(str(tmp_path / "x.npz"))  # today: 8 grey images of 8 x 3


def test_two_members_of_one_name(tmp_path: Path) -> None:
    place = folder(tmp_path / "f", pixels(3))
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in sorted(place.iterdir()):
            archive.write(path, "same.png")
    try:
        images = from_zip(tmp_path / "x.zip")
    except SfumatoError:
        return
    assert len({entry.digest for entry in images.entries}) == len(images)  # today: the last picture three times


def test_a_folder_and_its_zip_have_one_order(tmp_path: Path) -> None:
    for name in ("a", "a-b"):
        folder(tmp_path / "f" / name, pixels(3, len(name)))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in (tmp_path / "f").rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path / "f"))
    one, two = from_folder(tmp_path / "f"), from_zip(tmp_path / "x.zip")
    assert one.digest == two.digest and one.subset(3).digest == two.subset(3).digest


@pytest.mark.parametrize("name", ["", ":"])
def test_no_name_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder(tmp_path / "f", pixels(3))
    monkeypatch.chdir(tmp_path / "f")
    with pytest.raises(SfumatoError):
        find(name)  # `sfumato evaluate "$UNSET" real` measures whatever lies here


def test_statistics_that_are_no_gaussian(tmp_path: Path) -> None:
    made = folder(tmp_path / "made", pixels(20, 1))
    sample = sample_of(find(str(made)), Probe(Probe.Config()))
    save_statistics(sample, Probe(Probe.Config()), tmp_path / "s.safetensors")
    with safetensors.safe_open(tmp_path / "s.safetensors", "pt") as file:
        metadata, mean = file.metadata(), file.get_tensor("mean")
    tensors = {"mean": mean, "covariance": -torch.eye(12, dtype=torch.float64)}
    (tmp_path / "s.safetensors").write_bytes(safetensors.torch.save(tensors, metadata=metadata))
    with pytest.raises(SfumatoError):
        evaluate(request(made, tmp_path / "s.safetensors"))  # today: a distance, clamped at 0


def test_a_flipped_bit_in_the_cache_changes_no_figure(tmp_path: Path) -> None:
    images = from_array(pixels(8), "x")
    before = vectors(images, Probe(Probe.Config()))
    (path,) = (tmp_path / "cache").rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-2] ^= 0x40
    path.write_bytes(content)
    assert torch.equal(vectors(images, Probe(Probe.Config())), before)


def test_features_that_are_not_finite_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(SfumatoError):
        evaluate(request(folder(tmp_path / "a", pixels(8)), tmp_path / "a", "kid", Probe.Config(broken=True)))
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_npz_statistics_of_other_features_are_not_written(tmp_path: Path) -> None:
    probe = Probe(Probe.Config())
    sample = sample_of(find(str(folder(tmp_path / "a", pixels(8)))), probe)
    save = tmp_path / "s.npz"
    try:
        save_statistics(sample, probe, save)  # sfumato itself then says that it is of the 2015 graph
    except SfumatoError:
        return
    load_statistics(save, probe)


# 2. damage to what is not ours ----------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    device = tmp_path / "full"
    os.mknod(device, 0o20666, os.makedev(1, 7))  # like /dev/full; /dev/stdout and /dev/null fare alike
    with contextlib.suppress(SfumatoError):
        write_atomic(device, "text")
    assert stat.S_ISCHR(device.lstat().st_mode)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target.json").write_text("old")
    (tmp_path / "link.json").symlink_to(tmp_path / "target.json")
    write_atomic(tmp_path / "link.json", "new")
    assert (tmp_path / "link.json").is_symlink() and (tmp_path / "target.json").read_text() == "new"


# 3. explain -----------------------------------------------------------------------------------------------------------


def test_the_same_content_at_another_path_is_no_difference(tmp_path: Path) -> None:
    real = folder(tmp_path / "real", pixels(20, 2))
    made = folder(tmp_path / "made", pixels(20, 1))
    shutil.copytree(made, tmp_path / "copy")
    (told,) = explain(*(evaluate(request(place, real)) for place in (made, tmp_path / "copy")))
    assert told.factors == []  # as the docstring of `differences` says


def test_mixed_sizes_against_one_size(tmp_path: Path) -> None:
    made, real = folder(tmp_path / "made", pixels(10, 1)), folder(tmp_path / "real", pixels(20, 2))
    folder(made, pixels(10, 3, size=6), [f"small{i}.png" for i in range(10)])
    (told,) = explain(evaluate(request(made, real, size=8)), evaluate(request(made, real, mixed=True)))
    assert [factor.points for factor in told.factors] == [pytest.approx(told.gap)]  # the other way round it works


# 4. tracebacks on the command line ------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "a", pixels(12, 1)), folder(tmp_path / "b", pixels(12, 2))
    return tmp_path


def test_perception_distortion(data: Path) -> None:
    assert call("evaluate", "a", "b", *FAST, "--metrics", "perception_distortion", "--out", "o") in (0, 2)


@pytest.mark.parametrize("name", ["folder:test", "npz:test", "~nosuchuser/x"])
def test_names_that_raise(data: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    refused(capsys, "evaluate", name, "b", *FAST)


@pytest.mark.parametrize("told", ["[]", "{}", "3", '{"features": {}}', '{"features": {}, "about": 3}'])
def test_statistics_with_strange_metadata(data: Path, capsys: pytest.CaptureFixture[str], told: str) -> None:
    assert call("stats", "b", "--out", "s.safetensors", *FAST) == 0
    with safetensors.safe_open("s.safetensors", "pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if told.startswith('{"features"'):
        told = json.dumps({**json.loads(told), "features": json.loads(metadata["told"])["features"]})
    Path("s.safetensors").write_bytes(safetensors.torch.save(tensors, metadata={**metadata, "told": told}))
    refused(capsys, "evaluate", "a", "s.safetensors", *FAST, "--metrics", "fd")


@pytest.mark.parametrize("change", [{"metric_of": [5]}, {"metric_of": []}])
def test_evaluations_changed_by_hand(data: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]) -> None:
    assert call("evaluate", "a", "b", *FAST, "--metrics", "kid", "--out", "o") == 0
    values = json.loads(Path("o/evaluation.json").read_text())
    (values if "metric_of" in change else values["scores"][0]).update(change)
    Path("e.json").write_text(json.dumps(values))
    refused(capsys, "explain", "e.json", "o")


# 5. a run -------------------------------------------------------------------------------------------------------------


def test_a_run_alone_takes_the_same_words(data: Path) -> None:
    assert call("train", "wgan", "--task", "inpainting", "--images", 32, "--out", "run", *TINY) == 0
    assert call("evaluate", "run", "--metrics", "l1,ms-ssim", "--device", "cpu") == 0  # today: unknown kind 'ms-ssim'


@pytest.mark.parametrize("option", [["--features", "nope"], ["--masks", "nowhere"], ["--size", "4"], ["-n", "3"]])
def test_a_run_alone_ignores_no_option_in_silence(
    data: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    assert call("train", "wgan", "--task", "inpainting", "--images", 32, "--out", "run", *TINY) == 0
    refused(capsys, "evaluate", "run", "--metrics", "l1", *option, "--device", "cpu")


def test_an_unfinished_run_is_no_folder_of_pictures(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", "wgan", "--task", "inpainting", "--images", 32, "--out", "run", *TINY) == 0
    assert call("evaluate", "run", "--metrics", "l1", "--device", "cpu") == 0  # which leaves a picture in it
    Path("run/ledger.json").unlink()
    refused(capsys, "evaluate", "run", "b", *FAST, words="not finished")


# 6. a file that never ends --------------------------------------------------------------------------------------------


def test_a_pipe_called_png(tmp_path: Path) -> None:
    """A look at what is no regular file must not wait for ever (checked without waiting)."""
    from sfumato.data.folder import files

    folder(tmp_path / "f", pixels(2))
    os.mkfifo(tmp_path / "f" / "x.png")
    try:
        paths, _ = files(tmp_path / "f")
    except SfumatoError:
        return
    assert all(path.is_file() for path in paths)


def test_masks_of_more_images_serve_a_subset(tmp_path: Path) -> None:
    made, real = folder(tmp_path / "made", pixels(8, 1)), folder(tmp_path / "real", pixels(8, 2))
    masks = folder(tmp_path / "masks", np.full((8, 8, 8), 255, np.uint8))
    assert evaluate(request(made, real, ["l1"], n=4, n_real=4, masks=str(masks))).scores[0].n == 4


def test_a_subfolder_in_a_zip_called_png(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png/", b"")
        Image.fromarray(pixels(1)[0]).save(tmp_path / "p.png")
        archive.write(tmp_path / "p.png", "a.png/p.png")
    assert len(from_zip(tmp_path / "x.zip")) == 1
