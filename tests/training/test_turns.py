"""Turns: batches in parts, compiled networks, counted operations, losses on disk, labels and crops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sfumato.config import load
from sfumato.families.base import Batch, Stage, Terms
from sfumato.training import losses, run
from sfumato.training.budget import Budget
from sfumato.training.trainer import Trainer

from .test_life import FREE, SPEC, One, config, trained
from .tiny import data


def test_a_batch_in_parts_has_the_gradient_of_the_whole() -> None:
    class Mean(One, abstract=True):
        def loss(self, batch: Batch) -> Terms:
            return {"error": (batch.x.mean(dim=(1, 2, 3)) - self.one - self.two).square().mean()}

    whole, parts = trained(Mean)[0], trained(Mean, at_once=5)[0]
    assert parts.one.item() == pytest.approx(whole.one.item(), rel=1e-5) and parts.one.item() != 0


def test_compiled_networks_really_run() -> None:
    calls: list[int] = []

    def counting(graph: Any, inputs: Any) -> Any:
        def forward(*arguments: Any) -> Any:
            calls.append(1)
            return graph.forward(*arguments)

        return forward

    from torch._dynamo import register_backend, reset

    register_backend(counting, name="counting")  # type: ignore[call-arg]
    family = run.make_family(
        load(run.RunConfig, config("ddpm").model_dump()).family.model_copy(update={"width": 4}), SPEC, 0
    )
    trainer = Trainer(family, FREE, Budget(images=16 * 6, batch=16, compile="counting"), seed=0)
    try:
        trainer.run(data().train)
    finally:
        reset()
    assert len(calls) >= 6, f"{len(calls)} of 6 turns were compiled"
    assert trainer.ledger.flops > 0


def test_counting_operations_changes_nothing() -> None:
    """BatchNorm's statistics and spectral norm's vectors would move if the rehearsal were a turn."""
    states = []
    for counted in (True, False):
        family = run.make_family(
            load(
                run.RunConfig,
                {
                    "data": "digits",
                    "tasks": ["generation"],
                    "family": {"kind": "ddpm", "network": "published", "width": 4},
                },
            ).family,
            SPEC,
            0,
        )
        trainer = Trainer(family, FREE, Budget(images=48, batch=16), seed=0)
        if not counted:
            trainer.state.progress.flops["train.denoiser.0"] = 1.0
        trainer.run(data().train)
        states.append(family.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_resumed_losses_have_no_line_twice(tmp_path: Path) -> None:
    for images in (16, 32, 48):
        losses.append(tmp_path, images, 1.0, {"a": 0.5})
    with (tmp_path / losses.NAME).open("a") as file:
        file.write('{"images": 64, "sec')
    losses.cut(tmp_path, 32)
    assert [line["images"] for line in losses.read(tmp_path / losses.NAME)] == [16, 32]
    losses.append(tmp_path, 48, 1.0, {})
    assert len((tmp_path / losses.NAME).read_text().splitlines()) == 2


def test_labels_reach_the_batch() -> None:
    told: list[Tensor] = []

    class Hears(One, abstract=True):
        labelled = True

        def loss(self, batch: Batch) -> Terms:
            told.append(batch.condition.label)  # type: ignore[arg-type]
            expected = data().train.labels
            assert expected is not None and batch.index is not None
            assert torch.equal(batch.condition.label, expected[batch.index])
            return super().loss(batch)

    trained(Hears)
    assert told


def test_crops_are_windows_of_the_images() -> None:
    class Cropped(One, abstract=True):
        def stages(self) -> Sequence[Stage]:
            return [Stage("crops", crop=(4, 6))]

        def loss(self, batch: Batch) -> Terms:
            assert batch.x.shape[2:] == (4, 6)
            return super().loss(batch)

    trained(Cropped)
