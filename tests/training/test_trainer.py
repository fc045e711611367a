"""The one loop: budgets, turns, lazy terms, averages, rates, tasks in turn and the order of the data."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils.flop_counter import FlopCounterMode, _FlopCounterMode

from sfumato.config import Strict
from sfumato.data.base import DataSpec, Split
from sfumato.errors import ConfigError, DivergedError
from sfumato.families.base import Batch, Family, Objective, Player, Stage, Terms, weights
from sfumato.families.optimizers import AdamW, Optimizer
from sfumato.images import to_float
from sfumato.kinds import build, choice, kinds_of
from sfumato.networks.condition import Condition
from sfumato.tasks.base import Task
from sfumato.tasks.generation import Generation
from sfumato.tasks.inpainting import Inpainting
from sfumato.tasks.outpainting import Outpainting
from sfumato.training.averages import HalfLife, deployed_state
from sfumato.training.budget import Budget
from sfumato.training.ledger import Ledger
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer

from .tiny import data, settings

FREE = Generation(Generation.Config())
IMAGES = Split(torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, 1, 8, 8).contiguous())


def counting() -> bool:
    """Whether this is the rehearsal in which operations are counted."""
    return any(isinstance(mode, FlopCounterMode | _FlopCounterMode) for mode in _get_current_dispatch_mode_stack())


class Recorder(Family, abstract=True):
    """One number per network, and a note of every batch that a loss saw."""

    def build(self) -> None:
        self.net, self.other = nn.Linear(1, 1), nn.Linear(1, 1)
        self.register_buffer("rounds", torch.zeros(()))
        self.seen: list[tuple[str, Batch]] = []

    def loss(self, name: str, scale: float = 1.0) -> Any:
        def of(batch: Batch) -> Terms:
            if not counting():
                self.seen.append((name, batch))
            network = self.net if name.startswith("net") else self.other
            return {name: scale * network(batch.x.mean().view(1, 1)).square().mean()}

        return of

    def players(self, stage: Stage) -> Sequence[Player]:
        return [Player("net", [weights(self.net)], [Objective(self.loss("net"))], self.config.optimizer)]

    def draw(self, n: int, condition: Condition, size: tuple[int, int], rng: Any) -> Tensor:
        return torch.zeros(n, 1, *size)


class Plain(Recorder):
    class Config(Strict):
        kind: Literal["test-recorder"] = "test-recorder"
        optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config()


kinds_of(Family).pop("test-recorder")  # it is only for this file


class Lazy(Plain, abstract=True):
    def players(self, stage: Stage) -> Sequence[Player]:
        lazy = [Objective(self.loss("net")), Objective(self.loss("net lazy"), every=3)]
        return [
            Player("net", [weights(self.net)], lazy, turns=2),
            Player("other", [weights(self.other)], [Objective(self.loss("other"))]),
        ]


class Staged(Plain, abstract=True):
    def stages(self) -> Sequence[Stage]:
        return (Stage("small", 0.25, size=(4, 4)), Stage("full", 0.75))


def recorded(cls: type[Plain] = Plain, images: int = 80, batch: int = 8, seed: int = 0, **budget: Any) -> Any:
    torch.manual_seed(0)
    family = cls(Plain.Config(), DataSpec(channels=1, size=8))
    trainer = Trainer(family, FREE, Budget(images=images, batch=batch, **budget), seed=seed)
    trainer.run(IMAGES)
    return family, trainer


def test_the_budget_is_in_images() -> None:
    family, trainer = recorded(images=81)
    assert trainer.ledger.images == 88 and trainer.ledger.turns == {"net": 11}
    assert [batch.progress for _, batch in family.seen] == pytest.approx([8 * i / 81 for i in range(11)])


def test_the_ledger_counts_five_critic_turns() -> None:
    config = settings({"kind": "wgan", "width": 4, "critic_turns": 5})
    family = make_family(config.family, DataSpec(channels=1, size=8, condition=2), 0)
    looks: list[Ledger] = []
    trainer = Trainer(
        family, build(config.tasks[0]), Budget(images=192, batch=16), seed=0, watch=lambda seen, _: looks.append(seen)
    )
    trainer.run(data().train)
    assert trainer.ledger.images == 192 and trainer.ledger.turns == {"critic": 10, "generator": 2}
    assert trainer.ledger.flops > 0 and trainer.ledger.peak_bytes > 0 and trainer.ledger.seconds > 0
    assert looks[-1].images == 192


def test_flops_of_a_linear_layer_by_hand() -> None:
    _, trainer = recorded(images=80)
    # One multiply-add forward (2) and one for the weight's gradient (2); the input needs none.
    assert trainer.ledger.flops == 10 * 4


def test_lazy_objectives_are_seen_each_third_turn_and_count_three_times() -> None:
    family, trainer = recorded(Lazy, images=6 * 24)
    names = [name for name, _ in family.seen]
    assert trainer.ledger.turns == {"net": 12, "other": 6}
    assert names.count("net") == 12 and names.count("net lazy") == 4 and names.count("other") == 6
    assert names[:6] == ["net", "net lazy", "net", "other", "net", "net"]
    family = Lazy(Plain.Config(), DataSpec(channels=1, size=8))
    gradients: list[Tensor] = []
    family.net.weight.register_hook(lambda gradient: gradients.append(gradient.clone()))
    Trainer(family, FREE, Budget(images=8, batch=8), seed=0).run(IMAGES)
    assert torch.allclose(gradients[3], 3 * gradients[2])  # after a rehearsal of each, in which operations are counted


def test_each_epoch_shows_every_image_once() -> None:
    family, _ = recorded(images=120, batch=16)
    seen = torch.cat([batch.x[:, 0, 0, 0] for _, batch in family.seen])
    for epoch in range(3):
        shown = seen[40 * epoch : 40 * (epoch + 1)].sort().values
        assert torch.equal(shown, to_float(IMAGES.images)[:, 0, 0, 0])
    assert not torch.equal(seen[:40], seen[40:80]), "the epochs have one order"


def test_equal_seeds_see_equal_batches_and_others_do_not() -> None:
    first, again, other = (recorded(seed=seed, flip=True)[0].seen for seed in (0, 0, 1))
    assert all(torch.equal(a.x, b.x) for (_, a), (_, b) in zip(first, again, strict=True))
    assert not all(torch.equal(a.x, b.x) for (_, a), (_, b) in zip(first, other, strict=True))
    noise = [torch.rand(3, generator=batch.rng) for _, batch in first]
    assert not torch.equal(noise[0], noise[1]), "two turns draw the same noise"


def test_flip_mirrors_about_half_of_the_images() -> None:
    ramp = torch.arange(8, dtype=torch.uint8).view(1, 1, 1, 8).expand(40, 1, 8, 8).contiguous()
    family = Plain(Plain.Config(), DataSpec(channels=1, size=8))
    Trainer(family, FREE, Budget(images=400, batch=40, flip=True), seed=0).run(Split(ramp))
    mirrored = torch.cat([batch.x[:, 0, 0, 0] > batch.x[:, 0, 0, 7] for _, batch in family.seen]).float().mean()
    assert 0.4 < float(mirrored) < 0.6


def test_stages_share_the_budget_and_set_the_size() -> None:
    family, trainer = recorded(Staged, images=160)
    sizes = [batch.x.shape[-1] for _, batch in family.seen]
    assert sizes == [4] * 5 + [8] * 15 and trainer.ledger.images == 160


def served(tasks: Sequence[Task], batch: int, **budget: Any) -> Tensor:
    """What was known of the images of forty batches, the same in two trainings."""
    found = []
    for _ in range(2):
        family = Plain(Plain.Config(), DataSpec(channels=1, size=8, condition=2))
        Trainer(family, tasks, Budget(images=40 * batch, batch=batch, **budget), seed=0).run(IMAGES)
        found.append(torch.stack([batch.observation.known for _, batch in family.seen]))
    assert torch.equal(*found), "a batch is not keyed by the images before it"
    return found[0]


BOTH = [Inpainting(Inpainting.Config()), Outpainting(Outpainting.Config())]
CROP = BOTH[1].operator(Generator(), 1, (8, 8)).known[0]


@pytest.mark.parametrize("batch", [8, 7])
def test_each_batch_holds_all_tasks(batch: int) -> None:
    outward = [sum(torch.equal(known, CROP) for known in each) for each in served(BOTH, batch)]
    assert {batch // 2, -(-batch // 2)} == set(outward), "a batch is not shared"
    assert 0.45 * batch < sum(outward) / len(outward) < 0.55 * batch, "the odd image goes to one task"


def test_tasks_in_turn_are_all_served() -> None:
    outward = [sum(torch.equal(known, CROP) for known in each) for each in served(BOTH, 8, mix_tasks=False)]
    assert set(outward) == {0, 8} and 10 <= outward.count(8) <= 30, "one of two tasks is hardly served"


def test_more_tasks_than_images_are_served_in_time() -> None:
    masks = [Outpainting(Outpainting.Config(visible=share)) for share in (0.25, 0.5, 0.75)]
    seen = served(masks, 2)
    assert {int(known.sum()) for each in seen for known in each} == {
        int(task.operator(Generator(), 1, (8, 8)).known.sum()) for task in masks
    }


@pytest.mark.parametrize("network", ["published", "unet"])
def test_the_average_is_the_hand_recursion_and_copies_buffers(network: str) -> None:
    family = make_family(
        settings({"kind": "ddpm", "width": 4, "network": network}).family, DataSpec(channels=1, size=8), 0
    )
    share, batch = 0.1, 16
    expected = {name: value.clone() for name, value in deployed_state(family).items()}
    trained = {name for name, _ in family.named_parameters()}
    ema = HalfLife(HalfLife.Config(share=share), family)
    for rounds in range(1, 5):
        with torch.no_grad():
            for value in family.state_dict().values():
                value.add_(1) if value.is_floating_point() else value.add_(3)
        ema.update(rounds * batch, batch)
        decay = 0.5 ** (batch / (share * rounds * batch))
        for name, value in deployed_state(family).items():
            expected[name] = decay * expected[name] + (1 - decay) * value if name in trained else value.clone()
    for name, value in expected.items():
        assert torch.allclose(ema.values[name], value, atol=1e-5), name
    buffers = [name for name in expected if name not in trained]
    assert bool(buffers) == (network == "published"), "BatchNorm's statistics should be here"
    ema.copy_to(family)
    assert all(torch.equal(value, ema.values[name]) for name, value in deployed_state(family).items())


def test_a_buffer_that_is_replaced_keeps_its_value() -> None:
    """`self.level = self.level + 1` makes another tensor; a training that forgets it would sample from level 0."""

    class Growing(Plain, abstract=True):
        def players(self, stage: Stage) -> Sequence[Player]:
            def advance(batch: Batch) -> None:
                self.rounds = self.rounds + 1

            return [Player("net", [weights(self.net)], [Objective(self.loss("net"))], after_step=advance)]

    family, trainer = recorded(Growing, images=80)
    assert float(family.rounds) == float(trainer.state.average.values["rounds"]) == 10


def test_without_an_average_the_weights_are_the_last_ones() -> None:
    family, trainer = recorded(average="none")
    assert torch.equal(trainer.state.average.values["net.weight"], family.net.weight)


@pytest.mark.parametrize("decay", ["constant", "cosine"])
def test_the_rate_rises_then_stays_or_falls(decay: Literal["constant", "cosine"]) -> None:
    adam = AdamW.Config(lr=0.5, warmup=0.1, decay=decay)
    for progress in (0.0, 0.05, 0.1, 0.5, 0.999, 1.0):
        rise = min(1.0, progress / 0.1 + 1e-3)
        fall = 1.0 if decay == "constant" else 0.5 + 0.5 * math.cos(math.pi * progress)
        assert build(adam).rate(progress) == pytest.approx(0.5 * rise * fall)
    assert build(AdamW.Config(lr=1.0, warmup=0.0, decay="constant")).rate(0.0) == 1.0


def test_the_gradient_limit_holds() -> None:
    steps = []
    for clip in (None, 1e-12):
        torch.manual_seed(0)
        family = Plain(Plain.Config(optimizer=AdamW.Config(clip=clip, warmup=0.0)), DataSpec(channels=1, size=8))
        before = family.net.weight.detach().clone()
        Trainer(family, FREE, Budget(images=8, batch=8, average="none"), seed=0).run(IMAGES)
        steps.append(float((family.net.weight.detach() - before).abs()))
    assert steps[1] < 0.01 * steps[0]


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_stops_the_training(value: float) -> None:
    class Ill(Plain, abstract=True):
        def loss(self, name: str, scale: float = 1.0) -> Any:
            return super().loss(name, value)

    with pytest.raises(DivergedError, match=r"the loss net\.net became (inf|nan) after"):
        recorded(Ill)


def test_a_batch_that_processes_cannot_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfumato.training.processes.world", lambda: 3)
    with pytest.raises(ConfigError, match=r"budget\.batch = 8 cannot be shared by 3"):
        recorded()


def test_attention_counts_what_its_matrix_products_cost():
    from sfumato.training.ledger import flop_counter

    q = torch.randn(2, 3, 16, 8, requires_grad=True)
    with flop_counter() as counter:
        torch.nn.functional.scaled_dot_product_attention(q, q, q).sum().backward()
    product = 2 * 2 * 3 * 16 * 16 * 8  # one of the matrix products, a multiply-add counted as two
    assert counter.get_total_flops() == product * (2 + 5)
