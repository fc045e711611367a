"""Stages that count turns: they last as many rounds as they say, whatever the budget, and resume to the same bits."""

from pathlib import Path
from typing import Any

import pytest
import torch

from sfumato.data.base import DataSpec, Split
from sfumato.errors import Interrupted
from sfumato.families.base import Stage
from sfumato.families.singan import SinGAN
from sfumato.families.texto import Texto
from sfumato.streams import stream
from sfumato.tasks.generation import Generation
from sfumato.training.averages import Last
from sfumato.training.budget import Budget
from sfumato.training.loader import Loader
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer

PIXELS = torch.randint(0, 256, (1, 3, 16, 20), generator=stream(0, "x"), dtype=torch.uint8)


def trainer(config: Any, folder: Path | None = None, images: int = 7, watch: Any = None) -> Trainer:
    family = make_family(config, DataSpec(channels=3, size=(16, 20)), 0)
    budget = Budget(images=images, batch=4, average=Last.Config(), save_every=1e9)
    return Trainer(family, Generation(Generation.Config()), budget, seed=0, folder=folder, watch=watch)


def bits(made: Trainer) -> list[bytes]:
    return [value.numpy().tobytes() for value in made.family.state_dict().values()]


def test_a_stage_lasts_as_many_rounds_as_it_counts() -> None:
    one = trainer(SinGAN.Config(width=4, turns=5))
    one.run(Split(PIXELS))
    stages = one.family.stages()
    rounds = sum(stage.turns or 0 for stage in stages)
    assert rounds > 0
    assert one.ledger.turns == dict.fromkeys(one.ledger.turns, rounds * 3)  # three turns of each player a round
    assert one.ledger.planned == one.ledger.images == 1 + 2 * 3 * rounds  # one picture a turn, and the pass of `fit`
    other = trainer(SinGAN.Config(width=4, turns=5), images=100_000)
    other.run(Split(PIXELS))
    assert bits(one) == bits(other)


def test_a_batch_holds_each_picture_once() -> None:
    loader = Loader(Split(PIXELS.expand(2, -1, -1, -1)), 8)
    assert len(loader.at(0, Stage()).x) == 8
    assert len(loader.at(0, Stage(turns=3)).x) == 2


@pytest.mark.parametrize("config", [SinGAN.Config(width=4, turns=4), Texto.Config(turns=60, scales=2, targets=20)])
def test_a_stopped_training_goes_on_to_the_same_bits(config: Any, tmp_path: Path) -> None:
    whole = trainer(config)
    whole.run(Split(PIXELS))
    calls = 0

    def stop(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Interrupted)):
        trainer(config, tmp_path, watch=stop).run(Split(PIXELS))
    resumed = trainer(config, tmp_path)
    resumed.run(Split(PIXELS))
    assert bits(resumed) == bits(whole)
