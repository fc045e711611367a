"""Runs that come from other runs: fine-tuning, and families built around a trained one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn

from sfumato.config import Strict, load
from sfumato.data.base import Dataset, Split
from sfumato.errors import ConfigError, Interrupted, WeightsError
from sfumato.families.abilities import Decodes
from sfumato.families.base import Batch, Family, Objective, Player, Stage, Terms, weights
from sfumato.images import Images, Size
from sfumato.kinds import kinds_of
from sfumato.networks.condition import Condition
from sfumato.streams import Rngs, stream
from sfumato.training import run
from sfumato.training.checkpoint import load_tensors
from sfumato.training.run import read_run
from sfumato.training.state import State
from tests.training.tiny import data

DIGITS = {"kind": "digits", "train": 64, "validation": 8, "test": 8}


def config(family: Any, parts: Mapping[str, Path], tasks: Sequence[str] = ("generation",), images: int = 128) -> Any:
    values = {"data": DIGITS, "tasks": list(tasks), "family": family, "budget": {"images": images, "batch": 16}}
    return load(run.RunConfig, {**values, "parts": {name: str(path) for name, path in parts.items()}})


def half(low: bool) -> Dataset:
    """Digits 0 to 4, or 5 to 9."""
    full = data()
    assert full.train.labels is not None
    keep = (full.train.labels < 5) == low
    images = full.train.read(slice(0, len(full.train)))[0][keep]
    return Dataset("half", Split(images), full.validation, full.test, 0)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts") / "parent"
    run.train(config({"kind": "ddpm", "width": 4}, {}, images=640), folder, device="cpu", data=half(low=True))
    return folder


def denoising(folder: Path) -> float:
    """The first losses of a run."""
    lines = (folder / "losses.jsonl").read_text().splitlines()
    return float(json.loads(lines[0])["denoiser.denoising"])


def test_fine_tuning_begins_where_the_parent_ended_and_says_so(parent: Path, tmp_path: Path) -> None:
    tuned = run.train(
        config({"kind": "ddpm", "width": 4}, {"start": parent}), tmp_path / "tuned", device="cpu", data=half(low=False)
    )
    run.train(config({"kind": "ddpm", "width": 4}, {}), tmp_path / "fresh", device="cpu", data=half(low=False))
    assert denoising(tmp_path / "tuned") < 0.8 * denoising(tmp_path / "fresh")
    card = (tmp_path / "tuned" / "card.md").read_text()
    assert (
        "Its part `start`: ddpm on `digits`, 640 images" in card and "Fine-tuned: kept" in card and "new:" not in card
    )
    assert tuned.parts["start"].ledger.images == 640 and tuned.ledger.images == 128
    assert (tmp_path / "tuned/parts/start/ledger.json").read_text() == (parent / "ledger.json").read_text()
    assert not (tmp_path / "tuned/parts/start/model.safetensors").exists()


def test_a_run_loads_when_its_parents_have_moved(parent: Path, tmp_path: Path) -> None:
    shutil.copytree(parent, tmp_path / "parent")
    tuned = run.train(
        config({"kind": "ddpm", "width": 4}, {"start": tmp_path / "parent"}),
        tmp_path / "tuned",
        device="cpu",
        data=data(),
    )
    shutil.rmtree(tmp_path / "parent")
    again = run.load(tmp_path / "tuned")
    assert again.parts["start"].ledger == tuned.parts["start"].ledger
    drawn = [one.family.sample(2, rng=stream(0, "sample")) for one in (tuned, again)]
    assert torch.equal(*drawn)


def test_an_interrupted_fine_tuning_needs_no_parent_to_go_on(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(parent, tmp_path / "parent")
    wanted = config({"kind": "ddpm", "width": 4}, {"start": tmp_path / "parent"})
    whole = run.train(wanted, tmp_path / "whole", device="cpu", data=data())
    with monkeypatch.context() as patched:
        patched.setattr(State, "late", property(lambda state: True))
        rounds: list[int] = []
        real = State.save

        def stopping(self: State, turns: Any) -> None:
            real(self, turns)
            rounds.append(self.ledger.images)
            if len(rounds) == 3:
                raise Interrupted("stopped")

        patched.setattr(State, "save", stopping)
        with pytest.raises(Interrupted):
            run.train(wanted, tmp_path / "stopped", device="cpu", data=data())
    shutil.rmtree(tmp_path / "parent")
    run.train(wanted, tmp_path / "stopped", device="cpu", data=data())
    assert (tmp_path / "stopped/card.md").read_text().count("kept") == 1
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert files[0] == files[1] and whole.parts


def test_a_network_that_sees_more_begins_by_saying_the_same(parent: Path, tmp_path: Path) -> None:
    first: list[dict[str, Tensor]] = []
    with pytest.MonkeyPatch.context() as patched:
        enter = State.enter

        def entered(self: State, number: int, stage: Stage) -> None:
            enter(self, number, stage)
            first.append({name: value.clone() for name, value in self.family.state_dict().items()})

        patched.setattr(State, "enter", entered)
        run.train(
            config({"kind": "ddpm", "width": 4}, {"start": parent}, ["inpainting"]),
            tmp_path / "r",
            device="cpu",
            data=data(),
        )
    before = load_tensors(parent / "model.safetensors")
    name = "network.unet.enter.weight"
    assert torch.equal(first[0][name][:, :1], before[name]) and not first[0][name][:, 1:].any()
    assert all(torch.equal(first[0][other], value) for other, value in before.items() if other != name)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (
            {"kind": "ddpm", "width": 24, "embedding": 20},
            "does not fit into this ddpm: . of its .. tensors would be kept; use",
        ),
        ({"kind": "wgan", "width": 4}, "\\(a ddpm\\) does not fit into this wgan: 0 of"),
    ],
)
def test_a_parent_that_does_not_fit_is_refused_and_nothing_is_left(
    parent: Path, tmp_path: Path, family: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run.train(config(family, {"start": parent}), tmp_path / "r", device="cpu", data=data())
    assert not (tmp_path / "r").exists()


def test_a_parent_that_is_no_run_or_of_other_channels(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not a run"):
        run.train(config("ddpm", {"start": tmp_path / "none"}), tmp_path / "r", device="cpu", data=data())
    grey = data()
    parts = [Split(part.images.repeat(1, 3, 1, 1)) for part in (grey.train, grey.validation, grey.test)]
    colour = Dataset("colour", *parts)
    with pytest.raises(ConfigError, match="images of 1 channels, these have 3"):
        run.train(config({"kind": "ddpm", "width": 4}, {"start": parent}), tmp_path / "r", device="cpu", data=colour)


def test_a_critic_that_the_parent_did_not_keep_is_new(tmp_path: Path) -> None:
    family = {"kind": "wgan", "width": 4}
    run.train(config(family, {}), tmp_path / "parent", device="cpu", data=data())
    run.train(config(family, {"start": tmp_path / "parent"}), tmp_path / "tuned", device="cpu", data=data())
    card = (tmp_path / "tuned" / "card.md").read_text()
    assert "critic." in card.split("new: ")[1]


def test_without_a_family_the_parent_s_is_taken(parent: Path) -> None:
    read = read_run(None, None, "digits", ["generation"], None, 0, [], parent)
    assert read.family.width == 4 and read.parts == {"start": parent}


class Repainted(Family, abstract=True):
    """What another family draws, times a colour that is learnt."""

    class Config(Strict):
        kind: Literal["repainted"] = "repainted"

    wants: ClassVar[Mapping[str, type]] = {"first": Decodes}

    def build(self) -> None:
        self.colour = nn.Parameter(torch.ones(1))

    def players(self, stage: Stage) -> Sequence[Player]:
        colour = nn.Module()
        colour.colour = self.colour
        return [Player("painter", [weights(colour)], [Objective(self.loss)])]

    def loss(self, batch: Batch) -> Terms:
        return {"mean": (self.make(len(batch.x), batch.rng).mean() - batch.x.mean()).square()}

    def make(self, n: int, rng: Rngs) -> Images:
        first: Any = self.first
        return first.decode(first.latent(n, rng), Condition()) * self.colour

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        return self.make(n, rng)


def test_a_family_built_around_another_keeps_it_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds_of(Family), "repainted", Repainted)
    monkeypatch.setattr(Repainted.Config, "owner", Repainted)
    first = run.train(config({"kind": "wgan", "width": 4}, {}), tmp_path / "first", device="cpu", data=data())
    made = run.train(config("repainted", {"first": tmp_path / "first"}), tmp_path / "made", device="cpu", data=data())
    shutil.rmtree(tmp_path / "first")
    again = run.load(tmp_path / "made")
    assert again.family.colour.item() != 1.0  # type: ignore[operator, union-attr]
    inner: Any = again.family.first
    for name, value in first.family.generator.state_dict().items():  # type: ignore[union-attr, operator]
        assert torch.equal(value, inner.generator.state_dict()[name])
    assert torch.equal(made.family.sample(2, rng=stream(0, "s")), again.family.sample(2, rng=stream(0, "s")))
    assert "Its part `first`: wgan" in (tmp_path / "made/card.md").read_text()


def test_parts_that_are_missing_or_unknown(parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds_of(Family), "repainted", Repainted)
    monkeypatch.setattr(Repainted.Config, "owner", Repainted)
    for family, parts, message in [
        ("repainted", {}, "needs a trained Decodes as its part 'first', and none was given; name a run: parts.first"),
        ("repainted", {"first": parent}, "its part 'first', and it is a ddpm"),
        ({"kind": "ddpm", "width": 4}, {"first": parent}, "'ddpm' has no part 'first'; its parts: none"),
    ]:
        with pytest.raises(ConfigError, match=message):
            run.train(config(family, parts), tmp_path / "r", device="cpu", data=data())
        assert not (tmp_path / "r").exists()
