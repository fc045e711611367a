"""The life of a family: growth, what is fitted once, players of every kind, stages that end early; each resumed to the bit."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from torch import Tensor, nn

from sfumato.config import Strict, load
from sfumato.data.base import DataSpec, Split
from sfumato.errors import ConfigError, Interrupted
from sfumato.families.base import Batch, Family, Group, Objective, Player, Stage, Terms
from sfumato.families.optimizers import SGD, AdamW, Optimizer
from sfumato.images import Images, Size, to_float
from sfumato.kinds import build, choice, discover, find, kinds_of
from sfumato.networks.condition import Condition
from sfumato.streams import Rngs, stream
from sfumato.tasks.generation import Generation
from sfumato.testing import check_family
from sfumato.training import run
from sfumato.training.budget import Budget
from sfumato.training.loader import Loader
from sfumato.training.trainer import Trainer

from .growing import Growing
from .tiny import data, settings

kinds_of(Family).pop("growing-toy", None)  # a test that wants it puts it back

FREE = Generation(Generation.Config())
SPEC = DataSpec(channels=1, size=(8, 8), classes=10)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    before = dict(discover(Family))
    yield
    kinds_of(Family).clear()
    kinds_of(Family).update(before)


def growing() -> None:
    """The growing toy, known until the test ends."""
    kinds_of(Family)["growing-toy"] = Growing


def config(kind: str, **budget: Any) -> run.RunConfig:
    values = {"data": {"kind": "digits", "train": 64, "validation": 8, "test": 8}, "tasks": ["generation"]}
    return load(run.RunConfig, {**values, "family": kind, "budget": {"images": 256, "batch": 16, **budget}})


def test_a_growing_family_keeps_every_promise() -> None:
    growing()
    check_family("growing-toy", [DataSpec(channels=1, size=8)])


@pytest.mark.parametrize("stop_after", [3, 8, 12])
def test_a_growing_family_goes_on_to_the_same_bits(
    tmp_path: Path, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing()
    run.train(config("growing-toy"), tmp_path / "whole", device="cpu", data=data())
    rounds, real = [0], Trainer._round

    def counted(self: Trainer, *arguments: Any) -> None:
        real(self, *arguments)
        rounds[0] += 1
        if rounds[0] == stop_after:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_round", counted)
        with pytest.raises(Interrupted):
            run.train(config("growing-toy"), tmp_path / "stopped", device="cpu", data=data())
    trained = run.train(config("growing-toy"), tmp_path / "stopped", device="cpu", data=data())
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert files[0] == files[1]
    assert len(trained.family.blocks) == 2  # type: ignore[arg-type]
    assert len(run.load(tmp_path / "whole").family.blocks) == 2  # type: ignore[arg-type]
    assert trained.ledger.stages == {"small": 0, "full": 128}
    assert "small at 0, full at 128" in (tmp_path / "stopped" / "card.md").read_text()


def test_a_stage_makes_its_images_smaller_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, real = [0], Split.smaller

    def counted(self: Split, factor: int) -> Split:
        made[0] += 1
        return real(self, factor)

    monkeypatch.setattr(Split, "smaller", counted)
    split = Split(torch.randint(0, 256, (40, 1, 8, 8), generator=stream(0, "x"), dtype=torch.uint8))
    loader, half = Loader(split, 8), Stage("half", size=(4, 4))
    for position in range(0, 80, 8):
        drawn = loader.at(position, half)
        means = split.pictures.read(drawn.index).float().view(8, 1, 4, 2, 4, 2).mean((3, 5)).round()
        assert torch.equal(((drawn.x + 1) * 127.5).round(), means)
    assert made == [1]
    assert loader.at(0, Stage("odd", size=(3, 3))).x.shape[2:] == (3, 3)
    assert loader.at(0, Stage("whole")).x.shape[2:] == (8, 8) and made == [1]


class One(Family, abstract=True):
    """One weight that moves against a constant gradient, and whatever a test adds."""

    class Config(Strict):
        kind: Literal["one"] = "one"
        optimizer: Annotated[Any, choice(Optimizer, "adamw")] = SGD.Config(
            lr=0.1, clip=None, warmup=0.0, decay="constant"
        )

    def build(self) -> None:
        self.one, self.two = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.seen: list[Batch] = []

    def loss(self, batch: Batch) -> Terms:
        return {"down": (self.one + self.two).sum() * batch.x.new_ones(()) + 0 * batch.x.mean()}

    def players(self, stage: Stage) -> Sequence[Player]:
        return [
            Player(
                "one", [Group([self.one]), Group([self.two], rate=0.01)], [Objective(self.loss)], self.config.optimizer
            )
        ]

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        return torch.zeros(n, 1, *size)


def trained(cls: type[One], images: int = 64, **budget: Any) -> tuple[Any, Trainer]:
    family = cls(One.Config(), SPEC)
    trainer = Trainer(family, FREE, Budget(images=images, batch=16, average="none", **budget), seed=0)
    trainer.run(data().train)
    return family, trainer


def test_a_group_moves_at_its_own_rate() -> None:
    family, _ = trained(One)
    assert family.one.item() == pytest.approx(-0.4) and family.two.item() == pytest.approx(-0.004)


@pytest.mark.parametrize("kind", sorted(discover(Optimizer)))
def test_every_optimizer_goes_down(kind: str) -> None:
    cls = find(Optimizer, kind)
    family = One(One.Config(optimizer=cls.Config(lr=0.1, warmup=0.0)), SPEC)
    Trainer(family, FREE, Budget(images=64, batch=16, average="none"), seed=0).run(data().train)
    assert family.one.item() < -0.05


def test_betas_move_to_their_end() -> None:
    optimizer: Optimizer = build(AdamW.Config(betas=(0.0, 0.9), betas_end=(0.5, 0.99)))
    made = optimizer.make([{"params": [nn.Parameter(torch.zeros(1))], "rate": 1.0}])
    optimizer.steer(made, 0.5)
    assert made.param_groups[0]["betas"] == pytest.approx((0.25, 0.945))
    optimizer.steer(made, 1.0)
    assert made.param_groups[0]["betas"] == pytest.approx((0.5, 0.99))


def test_turns_that_share_a_batch_are_charged_once() -> None:
    seen: list[tuple[str, Tensor, float]] = []

    class Shared(One, abstract=True):
        def note(self, name: str) -> Any:
            def after(batch: Batch) -> None:
                seen.append((name, batch.index, float(torch.rand(1, generator=batch.rng))))  # type: ignore[arg-type]

            return after

        def players(self, stage: Stage) -> Sequence[Player]:
            return [
                Player(
                    "critic",
                    [Group([self.one])],
                    [Objective(self.loss)],
                    turns=3,
                    fresh=False,
                    after_step=self.note("c"),
                ),
                Player(
                    "generator", [Group([self.two])], [Objective(self.loss)], fresh=False, after_step=self.note("g")
                ),
            ]

    _, trainer = trained(Shared)
    assert trainer.ledger.images == 64 and trainer.ledger.turns == {"critic": 12, "generator": 4}
    assert [name for name, *_ in seen[:5]] == ["c", "c", "c", "g", "c"]
    assert all(torch.equal(seen[0][1], index) for _, index, _ in seen[1:4]) and not torch.equal(seen[0][1], seen[4][1])
    assert len({number for *_, number in seen}) == len(seen), "turns on one batch draw the same noise"


def test_turns_outside_the_budget_still_see_new_images() -> None:
    seen: list[Tensor] = []

    class Free(One, abstract=True):
        def players(self, stage: Stage) -> Sequence[Player]:
            def after(batch: Batch) -> None:
                seen.append(batch.index)  # type: ignore[arg-type]

            return [
                Player("paid", [Group([self.one])], [Objective(self.loss)], after_step=after),
                Player("free", [Group([self.two])], [Objective(self.loss)], in_budget=False, after_step=after),
            ]

    _, trainer = trained(Free)
    assert trainer.ledger.images == 64 and len(seen) == 8
    assert len(set(torch.cat(seen[:4]).tolist())) == 64, "an image came twice in an epoch"


def test_a_budget_that_nobody_spends_is_an_error_and_not_an_endless_loop() -> None:
    class Idle(One, abstract=True):
        def players(self, stage: Stage) -> Sequence[Player]:
            return [Player("idle", [Group([self.one])], [Objective(self.loss)], in_budget=False)]

    with pytest.raises(ConfigError, match="never be spent"):
        trained(Idle)


@pytest.mark.parametrize("stages", [(), (Stage(),)])
def test_no_stages_or_no_players_end_at_once(stages: Sequence[Stage]) -> None:
    class Still(One, abstract=True):
        def stages(self) -> Sequence[Stage]:
            return stages

        def players(self, stage: Stage) -> Sequence[Player]:
            return []

    _, trainer = trained(Still)
    assert trainer.ledger.images == 0 and trainer.ledger.turns == {}


def test_a_stage_may_end_itself_and_saves_what_is_left() -> None:
    class Adaptive(One, abstract=True):
        def stages(self) -> Sequence[Stage]:
            def enough(losses: Mapping[str, float]) -> bool:
                return losses["one.down"] < -0.05

            return [Stage("first", 0.75, stop_when=enough), Stage("second", 0.25)]

    _, trainer = trained(Adaptive, images=16 * 100)
    assert trainer.ledger.images == 16 * (20 + 25)  # one look of twenty rounds, then a quarter of a hundred


def test_an_average_may_become_the_weights() -> None:
    class Swaps(One, abstract=True):
        def stages(self) -> Sequence[Stage]:
            return [Stage("first", 0.5, use_average=True), Stage("second", 0.5)]

    family = Swaps(One.Config(), SPEC)
    Trainer(
        family, FREE, Budget(images=64, batch=16, average={"kind": "constant", "decay": 0.5, "rise": False}), seed=0
    ).run(data().train)
    # Two steps of -0.1, averaged: 0 -> -0.05 -> -0.125; two more from there.
    average = -0.125
    for step in (-0.225, -0.325):
        average = (average + step) / 2
    assert family.one.item() == pytest.approx(average)


class Fitted(One, abstract=True):
    """A mean that one pass over the images gives."""

    def build(self) -> None:
        super().build()
        self.register_buffer("mean", torch.zeros(self.spec.size))
        self.passes = 0

    def players(self, stage: Stage) -> Sequence[Player]:
        return []

    def fit(self, stage: Stage, images: Any) -> Iterator[float]:
        self.passes += 1
        total, n = torch.zeros(self.spec.size), 0
        for x, _ in images.all(16):
            total, n = total + x.sum(dim=(0, 1)), n + len(x)
            yield n / 64
        self.mean = total / n

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        return self.mean.expand(n, 1, *size)


def test_what_is_fitted_is_charged_published_and_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mean(Fitted):
        class Config(Strict):
            kind: Literal["mean-toy"] = "mean-toy"

    settings = config("mean-toy")
    made = run.train(settings, tmp_path / "run", device="cpu", data=data())
    assert made.ledger.images == 64 and made.ledger.turns == {}
    expected = to_float(data().train.images).mean(dim=(0, 1))
    assert torch.allclose(run.load(tmp_path / "run").family.mean, expected, atol=1e-6)  # type: ignore[arg-type]
    with monkeypatch.context() as patched:
        patched.setattr(run, "deployed_state", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):  # killed after the fit was checkpointed, before the run was written
            run.train(settings, tmp_path / "killed", device="cpu", data=data())
    again = run.train(settings, tmp_path / "killed", device="cpu", data=data())
    assert again.family.passes == 0 and torch.allclose(again.family.mean, expected, atol=1e-6)  # type: ignore[arg-type]
    assert again.ledger.images == 64


def test_a_finished_training_goes_on_with_a_larger_budget(tmp_path: Path) -> None:
    first = run.train(settings(images=64), tmp_path / "r", device="cpu", data=data())
    more = run.train(settings(images=160), tmp_path / "r", device="cpu", data=data())
    assert (first.ledger.images, more.ledger.images, more.ledger.turns) == (64, 160, {"denoiser": 10})
    assert more.ledger.flops == pytest.approx(2.5 * first.ledger.flops)
    card = (tmp_path / "r/card.md").read_text()
    assert "Went on from 64 images: averaged weights, new optimisers" in card and "160 images" in card
    assert not (tmp_path / "r/parts/earlier/model.safetensors").exists()
    again = run.train(settings(images=160), tmp_path / "r", device="cpu", data=data())
    assert again.ledger == more.ledger
    third = run.train(settings(images=192), tmp_path / "r", device="cpu", data=data())
    assert third.ledger.images == 192
    with pytest.raises(ConfigError, match=r"another run \(its config.json differs in budget.images\)"):
        run.train(settings(images=48), tmp_path / "r", device="cpu", data=data())
