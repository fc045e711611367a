"""Growing: the published number of weights, what a new resolution keeps, what is frozen, when a size is learnt."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.config import load
from sfumato.data.base import DataSpec, Split
from sfumato.errors import ConfigError, Interrupted
from sfumato.families.base import Batch, parameter_count
from sfumato.families.growing_gan import GrowingGAN
from sfumato.features.base import extractor
from sfumato.maths.plateau import flat
from sfumato.networks.condition import Condition
from sfumato.networks.growing import NORMS, Generator, SubBlock, levels_of
from sfumato.streams import stream
from sfumato.studies.parity import deployed_parameters
from sfumato.tasks.inpainting import Inpainting
from sfumato.training import run
from sfumato.training.averages import deployed_state
from sfumato.training.budget import Budget
from sfumato.training.run import make_family
from sfumato.training.state import grown
from sfumato.training.trainer import Trainer

SPEC = DataSpec(channels=3, size=(16, 24), condition=4)
SMALL: dict[str, Any] = {"width": 6, "perceptual": 0.0}
TASK = Inpainting(Inpainting.Config())


def made(settings: dict[str, Any] | None = None, spec: DataSpec = SPEC) -> GrowingGAN:
    family = make_family(GrowingGAN.Config.model_validate(SMALL | (settings or {})), spec, 0)
    assert isinstance(family, GrowingGAN)
    return family


def images(n: int, size: tuple[int, int]) -> Tensor:
    return torch.rand(n, 3, *size, generator=stream(0, "images", *size)) * 2 - 1


def batch(n: int, size: tuple[int, int], within: float = 1.0) -> Batch:
    x = images(n, size)
    observation = TASK.observe(x, stream(0, "mask"))
    return Batch(x, observation, Condition(observation.image), stream(0, "turn"), within=within)


def test_the_published_number_of_weights() -> None:
    spec = DataSpec(channels=3, size=64, condition=4)
    assert deployed_parameters(GrowingGAN.Config(), spec) == 328_887
    assert deployed_parameters(GrowingGAN.Config(normalisation="none"), spec) == 328_887
    # by hand: heads and exits of five resolutions, eleven sub-blocks, ten layers in and ten out, of 24 channels with biases
    sub_block = sum(24 * 8 * k * k + 8 for k in (1, 3, 7))
    heads = 5 * (4 * 24 * 9 + 24 + 24 * 3 * 9 + 3)
    assert heads + 11 * sub_block + 10 * (24 * 24 * 9 + 24) + 10 * (24 * 24 * 25 + 24) == 328_887


@pytest.mark.parametrize("size", [(7, 8), (2, 2), (9, 9)])
def test_odd_and_tiny_images_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"even and at least 4; got \d"):
        made(spec=DataSpec(channels=3, size=size, condition=4))


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_a_new_resolution_begins_as_the_smaller_one(norm: str, skips: bool) -> None:
    network = Generator(4, 3, (16, 24), 6, NORMS[norm], skips).eval()
    x = torch.randn(2, 4, 16, 24, generator=stream(0, "x"))
    for level in (1, 2):
        at = F.avg_pool2d(x, 4 // 2**level) if level < 2 else x
        network.stand(level - 1, 1.0)
        before = F.interpolate(network(F.avg_pool2d(at, 2)), scale_factor=2.0)
        network.stand(level, 0.0)
        torch.testing.assert_close(network(at), before, atol=1e-6, rtol=0)
        network.stand(level, 0.5)
        half = network(at)
        network.stand(level, 1.0)
        assert not torch.allclose(half, before, atol=1e-4) and not torch.allclose(half, network(at), atol=1e-4)


@pytest.mark.parametrize("freeze", [["generator", "critic"], ["generator"], []])
def test_only_what_is_not_frozen_moves(freeze: list[str]) -> None:
    family = made({"freeze": freeze, "normalisation": "batch"})
    before = {}

    def look(ledger: Any, means: Mapping[str, float]) -> None:
        level = int(family.generator.level)
        if level not in before:
            before[level] = {name: value.clone() for name, value in family.state_dict().items()}

    trainer = Trainer(family, TASK, Budget(images=192, batch=8), seed=0, watch=look)
    trainer.log_rounds = 1
    trainer.run(Split(((images(32, (16, 24)) + 1) * 127.5).to(torch.uint8)))
    # the averaged weights are in the family now; frozen ones have one value along a stage, and an average of it
    for half in ("generator", "critic"):
        network: Any = getattr(family, half)
        own = {id(value): name for name, value in network.state_dict(keep_vars=True).items()}
        lower = [
            own[id(v)]
            for part in network.parts(0)
            for v in part.state_dict(keep_vars=True).values()
            if v.is_floating_point()
        ]
        now = network.state_dict()
        moved = [name for name in lower if not torch.allclose(before[1][f"{half}.{name}"], before[2][f"{half}.{name}"])]
        weights = [name for name in moved if name in dict(network.named_parameters())]
        assert (not moved) if half in freeze else weights, (half, moved)
        assert all(torch.isfinite(now[name]).all() for name in lower)


def test_players_are_the_newest_blocks() -> None:
    family = made()
    stages = family.stages()
    assert [stage.size for stage in stages] == [(4, 6), (8, 12), (16, 24)]
    grown(family, stages[1], 0)
    (critic, generator) = family.players(stages[1])
    wanted = {id(p) for part in family.generator.parts(1) for p in part.parameters()}
    assert {id(p) for p in generator.weights} == wanted
    assert {id(p) for p in critic.weights} == {id(p) for part in family.critic.parts(1) for p in part.parameters()}
    every = sum(parameter_count(family.generator.parts(level)) for level in range(3))
    assert every == parameter_count([family.generator]), "each weight comes with one resolution"


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_reload_at_any_level_samples_the_same_bits(level: int) -> None:
    family, size = made(), (4 * 2**level, 6 * 2**level)
    for stage in family.stages()[: level + 1]:
        grown(family, stage, 0)
    family.generator.stand(level, 0.3 if level else 1.0)
    seen = TASK.observe(images(2, size), stream(0, "mask"))
    first = family.sample(2, observation=seen, size=size, rng=stream(0, "s"))
    fresh = made()
    for stage in fresh.stages():
        grown(fresh, stage, 1)
    fresh.load_state_dict({key: value.clone() for key, value in deployed_state(family).items()}, strict=False)
    assert torch.equal(first, fresh.sample(2, observation=seen, size=size, rng=stream(0, "s")))


class Always(nn.Module):
    """A network that answers one thing."""

    def __init__(self, answer: Any):
        super().__init__()
        self.answer, self.level, self.fade = answer, torch.tensor(2), torch.tensor(1.0)

    def stand(self, level: int, fade: float) -> None:
        pass

    def forward(self, x: Tensor, *told: Any) -> Tensor:
        return self.answer(x)


def test_losses_are_the_papers() -> None:
    family = made({"adversarial": 0.5, "squared": 2.0, "perceptual": 3.0})
    b = batch(4, (16, 24))
    answer = images(4, (16, 24)).flip(0)
    family.generator = Always(lambda x: answer)  # type: ignore[assignment]
    family.critic = Always(lambda x: x[:, :3].mean((1, 2, 3)))  # type: ignore[assignment]
    terms, hole = family.generator_loss(b), 1 - b.observation.known
    shown = b.observation.known * b.x + hole * answer
    squared = 2.0 * ((answer - b.x).square() * hole).sum() / (3 * hole.sum())
    features: Any = extractor(family.config.features)
    apart = 0.0
    for (_, one), (_, two), _ in zip(features.maps(shown), features.maps(b.x), range(2), strict=False):
        apart += float(np.linalg.norm((one - two).flatten(1).numpy(), axis=1).mean() / one[0].numel())
    mean = sum(
        float((one - two).square().mean())
        for (_, one), (_, two), _ in zip(features.maps(shown), features.maps(b.x), range(2), strict=False)
    )
    family.config = family.config.model_copy(update={"perceptual_form": "mean"})
    assert float(family.perceived(shown, b.x)) == pytest.approx(mean, rel=1e-4)
    torch.testing.assert_close(terms["squared"], squared)
    assert float(terms["perceptual"]) == pytest.approx(3.0 * apart, rel=1e-4)
    fooled = F.binary_cross_entropy_with_logits(shown.mean((1, 2, 3)), torch.ones(4))
    torch.testing.assert_close(terms["adversarial"], 0.5 * fooled)
    told = family.critic_loss(b)
    torch.testing.assert_close(told["real"], F.binary_cross_entropy_with_logits(b.x.mean((1, 2, 3)), torch.ones(4)))
    torch.testing.assert_close(told["made"], F.binary_cross_entropy_with_logits(shown.mean((1, 2, 3)), torch.zeros(4)))


def test_new_blocks_are_faded_in_along_the_stage() -> None:
    family = made({"fade": 0.25})
    grown(family, family.stages()[1], 0)
    for within, share in ((0.0, 0.0), (0.1, 0.4), (0.3, 1.0)):
        family.generator_loss(batch(2, (8, 12), within))
        assert float(family.generator.fade) == pytest.approx(share) == float(family.critic.fade)


def test_a_sub_block_adds_to_its_input() -> None:
    block = SubBlock(6, NORMS["none"])
    for weight in block.parameters():
        nn.init.zeros_(weight)
    x = torch.randn(1, 6, 4, 4, generator=stream(0, "x"))
    assert torch.equal(block(x), x)


def test_the_mask_is_told_or_not() -> None:
    x, known = images(1, (16, 24)), torch.zeros(1, 1, 16, 24)
    for told in (True, False):
        family = made({"mask": told}).eval()
        one, two = (family.made(Condition(torch.cat([x, k], 1))) for k in (known, 1 - known))
        assert torch.equal(one, two) != told


def test_a_size_is_learnt_when_its_error_no_longer_falls() -> None:
    rng = np.random.default_rng(0)
    falls = [flat([float(v) for v in 1 - 0.02 * np.arange(20) + 0.05 * rng.normal(size=20)]) for _ in range(200)]
    rests = [flat([float(v) for v in 1 + 0.05 * rng.normal(size=20)]) for _ in range(200)]
    assert np.mean(falls) < 0.02 and np.mean(rests) > 0.7
    family = made({"patience": 6})
    grown(family, family.stages()[1], 0)
    stop = family.stages()[1].stop_when
    assert stop is not None
    family.generator.stand(1, 0.5)
    assert not any(stop({"generator.squared": 1.0 + 0.1 * (i % 2)}) for i in range(20)), "not while blocks are faded in"
    family.generator.stand(1, 1.0)
    assert [stop({"generator.squared": 1.0 + 0.1 * (i % 2)}) for i in range(8)].index(True) == 5
    grown(family, family.stages()[2], 0)
    assert not bool(family.errors.any()), "another size, another error"
    assert not any(stop({"generator.squared": 1.0}) for i in range(20)), (
        "the last resolution has the rest of the budget"
    )


def test_skips_cost_no_weight_and_carry_what_the_smallest_map_cannot() -> None:
    """Without them a pixel reaches the answer through the smallest map alone, with them from its own size too."""
    spec = DataSpec(channels=3, size=64, condition=4)
    assert deployed_parameters(GrowingGAN.Config(skips=True), spec) == 328_887
    for skips in (False, True):
        network = Generator(4, 3, (8, 8), 6, NORMS["none"], skips).eval()
        for parameter in network.middle.parameters():
            torch.nn.init.zeros_(parameter)
        x = torch.randn(1, 4, 8, 8, generator=stream(0, "x"))
        with torch.no_grad():
            for parameter in network.downs.parameters():
                parameter.zero_()  # nothing passes below
            changed = not torch.allclose(network(x), network(-x), atol=1e-6)
        assert changed == skips


def test_it_learns_what_a_hole_hides() -> None:
    """Pictures of one colour each: what is missing is what is there."""
    colours = torch.randint(0, 256, (400, 3, 1, 1), generator=stream(0, "colours"), dtype=torch.uint8)
    data = colours.expand(-1, -1, 8, 8).contiguous()
    family = made({"width": 12}, DataSpec(channels=3, size=8, condition=4))
    Trainer(family, TASK, Budget(images=24_000, batch=32), seed=0).run(Split(data))
    x = data[:50].float() / 127.5 - 1
    seen = TASK.observe(x, stream(0, "mask"))
    filled = family.sample(50, observation=seen, rng=stream(0, "s"))
    hole = 1 - seen.known
    error = float(((filled - x).abs() * hole).sum() / (3 * hole.sum()))
    spread = float(((x.mean(0, keepdim=True) - x).abs() * hole).sum() / (3 * hole.sum()))
    assert error < 0.25 * spread, (error, spread)
    assert levels_of((8, 8)) == 2 and int(family.generator.level) == 1


def test_growth_by_error_is_the_same_when_a_training_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks come by rounds of the stage, and a checkpoint keeps what was not looked at yet."""
    values = {
        "data": {"kind": "digits", "train": 64, "validation": 8, "test": 8},
        "tasks": ["inpainting"],
        "family": {"kind": "growing_gan", "patience": 4, **SMALL},
        "budget": {"images": 8000, "batch": 16},
    }
    config = load(run.RunConfig, values)
    whole = run.train(config, tmp_path / "whole", device="cpu")
    assert whole.ledger.stages["4 x 4"] == 0 and 0 < whole.ledger.stages["8 x 8"] < 4000, "it grew by itself"
    rounds, real = [0], Trainer._round

    def counted(self: Trainer, *arguments: Any) -> None:
        real(self, *arguments)
        rounds[0] += 1
        if rounds[0] == 37:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_round", counted)
        with pytest.raises(Interrupted):
            run.train(config, tmp_path / "stopped", device="cpu")
    again = run.train(config, tmp_path / "stopped", device="cpu")
    assert again.ledger.stages == whole.ledger.stages
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped")]
    lines = [(tmp_path / name / "losses.jsonl").read_text() for name in ("whole", "stopped")]
    assert files[0] == files[1]
    seen = [
        [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in text.splitlines()] for text in lines
    ]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("more", [{"fade": 1.0}, {"squared": 0.0}])
def test_growth_by_error_needs_an_error(more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="fade < 1 and squared > 0"):
        made({"patience": 5, **more})
