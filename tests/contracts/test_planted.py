"""The checks catch what they are for: each test plants one fault and expects the sentence that names it."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import pytest
import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from sfumato.config import Strict
from sfumato.data.base import Dataset, DataSpec, Source, SourceConfig, Split
from sfumato.families.base import Batch, Family, Objective, Player, Stage, Terms, weights
from sfumato.families.optimizers import AdamW
from sfumato.images import Images, Pixels, Size
from sfumato.kinds import discover, kinds_of, root_of
from sfumato.metrics.base import PairedMetric
from sfumato.metrics.l1 import l1
from sfumato.networks.condition import Condition
from sfumato.restorers.base import Restorer
from sfumato.streams import Rngs, normals
from sfumato.tasks.base import Observation, Operator, Task
from sfumato.tasks.down_sampling import BlockMean
from sfumato.tasks.operators import Masking
from sfumato.testing import check_config, check_family, check_metric, check_restorer, check_source, check_task

SPEC = DataSpec(channels=1, size=8)
ROOTS: list[Any] = [Family, Task, Restorer, PairedMetric, Source]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """A planted kind is gone after its test."""
    before = [dict(discover(root_of(root))) for root in ROOTS]
    yield
    for root, kinds in zip(ROOTS, before, strict=True):
        kinds_of(root).clear()
        kinds_of(root).update(kinds)


class Sound(Family, abstract=True):
    """A bias and a gain for noise: the smallest family that keeps every promise."""

    def build(self) -> None:
        self.net = nn.Conv2d(self.spec.channels, self.spec.channels, 1)
        self.aside = nn.Linear(1, 1)
        self.register_buffer("level", torch.zeros(()))

    def players(self, stage: Stage) -> Sequence[Player]:
        aside = Player("aside", [weights(self.aside)], [Objective(self.aside_loss)])
        adam = AdamW.Config(lr=0.01)
        after = self.advance
        return [Player("net", [weights(self.net)], [Objective(self.loss)], adam, after_step=after), aside]

    def advance(self, batch: Batch | None = None) -> None:
        self.level += 0.1

    def noise(self, n: int, size: Size, rng: Rngs) -> Tensor:
        return normals(rng, n, self.spec.channels, *size)

    def loss(self, batch: Batch) -> Terms:
        made = self.net(self.noise(len(batch.x), self.spec.size, batch.rng))
        return {"error": (made - batch.x).square().mean()}

    def aside_loss(self, batch: Batch) -> Terms:
        return {"aside": self.aside(batch.x.mean().view(1, 1)).square().mean()}

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        return self.net(self.noise(n, size, rng)) + self.level


def expect(family: type[Family], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_family(family.Config(), SPEC)


def test_a_sound_family_passes() -> None:
    class Good(Sound):
        class Config(Strict):
            kind: Literal["planted"] = "planted"

    check_family("planted")


def test_global_generator_in_sampling() -> None:
    class Bad(Sound):
        class Config(Strict):
            kind: Literal["planted"] = "planted"

        def noise(self, n: int, size: Size, rng: Rngs) -> Tensor:
            return torch.randn(n, self.spec.channels, *size)

    expect(Bad, "torch's global generator")


def test_global_generator_in_a_layer() -> None:
    class Bad(Sound):
        class Config(Strict):
            kind: Literal["planted"] = "planted"

        def loss(self, batch: Batch) -> Terms:
            return {"error": nn.functional.dropout(self.net(batch.x), 0.5).square().mean()}

    expect(Bad, "loss of net uses torch's global generator")


def test_growth_in_an_attribute() -> None:
    class Bad(Sound):
        class Config(Strict):
            kind: Literal["planted"] = "planted"

        def build(self) -> None:
            super().build()
            del self.level
            self.level = 0.0

    expect(Bad, "the deployed state in a fresh family samples other bits")


def test_growth_during_sampling() -> None:
    class Bad(Sound):
        class Config(Strict):
            kind: Literal["planted"] = "planted"

        def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
            made = super().draw(n, condition, size, rng)
            self.advance()
            return made

    expect(Bad, "sampling twice|sampling changed")


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_an_infinite_loss(value: float) -> None:
    class Bad(Sound):
        class Config(Strict):
            kind: Literal["planted"] = "planted"

        def loss(self, batch: Batch) -> Terms:
            return {"error": super().loss(batch)["error"] * value}

    expect(Bad, "the loss net.error became (inf|nan)")


def test_a_loss_that_hides_nan() -> None:
    class Bad(Sound):
        class Config(Strict):
            kind: Literal["planted"] = "planted"

        def loss(self, batch: Batch) -> Terms:
            return {"error": torch.nan_to_num(super().loss(batch)["error"])}

        def aside_loss(self, batch: Batch) -> Terms:
            return {"aside": torch.nan_to_num(super().aside_loss(batch)["aside"])}

    expect(Bad, "a loss hides it")


def test_a_player_that_moves_the_weights_of_another() -> None:
    class Bad(Sound):
        class Config(Strict):
            kind: Literal["planted"] = "planted"

        def advance(self, batch: Batch | None = None) -> None:
            with torch.no_grad():
                self.aside.weight += 1

    expect(Bad, "the turn of net moved .*aside.weight.* of others")


def test_a_player_without_a_gradient() -> None:
    class Bad(Sound):
        class Config(Strict):
            kind: Literal["planted"] = "planted"

        def aside_loss(self, batch: Batch) -> Terms:
            return {"aside": 0.0 * self.aside(batch.x.mean().view(1, 1)).sum()}

    expect(Bad, "no weight of aside moved")


def test_a_deployed_network_that_nobody_trains() -> None:
    class Bad(Sound):
        class Config(Strict):
            kind: Literal["planted"] = "planted"

        def players(self, stage: Stage) -> Sequence[Player]:
            return super().players(stage)[:1]

    expect(Bad, "no player trains the deployed weights .*aside")


def test_pixels_that_are_not_finite() -> None:
    class Bad(Sound):
        class Config(Strict):
            kind: Literal["planted"] = "planted"

        def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
            return super().draw(n, condition, size, rng)[:1]

    expect(Bad, "gave shape")


class WrongUp(BlockMean):
    """A sum where the pseudo-inverse repeats a value."""

    def to(self, device: str | torch.device) -> BlockMean:
        return self

    def pinv(self, y: Tensor) -> Images:
        return 2 * super().pinv(y)


class NotSmallest(WrongUp):
    """Explains y, but not by the smallest image: the corner of a block carries all of it."""

    def pinv(self, y: Tensor) -> Images:
        up = torch.zeros(*y.shape[:2], *self.size)
        up[:, :, :: self.scale, :: self.scale] = y * self.scale**2
        return up


@pytest.mark.parametrize(("law", "words"), [(WrongUp, r"A A\+ A x is not A x"), (NotSmallest, "not the smallest")])
def test_a_wrong_pseudo_inverse(law: type[BlockMean], words: str) -> None:
    class Bad(Task):
        class Config(Strict):
            kind: Literal["planted"] = "planted"

        def operator(self, rngs: Any, n: int, size: Size) -> BlockMean:
            return law(n, size, 2)

    with pytest.raises(AssertionError, match=words):
        check_task("planted")


def test_masks_that_depend_on_the_batch() -> None:
    class Bad(Task):
        class Config(Strict):
            kind: Literal["planted"] = "planted"

        def operator(self, rngs: Any, n: int, size: Size) -> Masking:
            known = torch.ones(n, 1, *size)
            known[:, :, : min(n, size[0] // 2)] = 0
            return Masking(known)

    with pytest.raises(AssertionError, match="masks depend on the batch"):
        check_task("planted")


def test_a_name_that_is_taken() -> None:
    class Bad(Task):
        class Config(Strict):
            kind: Literal["planted"] = "planted"

        name = "inpainting"  # type: ignore[assignment]

        def operator(self, rngs: Any, n: int, size: Size) -> BlockMean:
            return BlockMean(n, size, 2)

    with pytest.raises(AssertionError, match="belongs to another task kind"):
        check_task("planted")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("known", "changed known pixels by up to"),
        ("range", r"not in \[-1, 1\]"),
        ("random", "global generator"),
        ("drift", "an equal rng gave other bits"),
        ("finite", "not finite"),
        ("unchecked", "must raise CapabilityError"),
    ],
)
def test_a_restorer_with_a_fault(fault: str, words: str) -> None:
    class Bad(Restorer):
        count: ClassVar[int] = 0

        @classmethod
        def answers(cls, operator: Operator) -> bool:
            return operator.hides

        class Config(Strict):
            kind: Literal["planted"] = "planted"

        def restore(self, observation: Observation, *, rng: Generator) -> Images:
            if fault != "unchecked":
                self.check(observation)
            type(self).count += 1
            known, x = observation.known, observation.preview
            hole = {"range": 1.5, "finite": torch.nan, "drift": 1e-3 * self.count}.get(fault, 0.0)
            if fault == "random":
                hole = float(torch.rand(()))
            made = torch.where(known > 0, x, torch.full_like(x, hole))
            return made * 0.9 if fault == "known" else made

    with pytest.raises(AssertionError, match=words):
        check_restorer("planted")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("batch", "in batches of 1, 4, 7 but"),
        ("direction", "truth and rising noise score"),
        ("blind", "heavy noise scores as well as the truth"),
    ],
)
def test_a_metric_with_a_fault(fault: str, words: str) -> None:
    class Bad(PairedMetric):
        class Config(Strict):
            kind: Literal["planted"] = "planted"

        better: ClassVar[Literal["lower", "higher"]] = "higher" if fault == "direction" else "lower"
        unit: ClassVar[str] = "levels"
        label = "planted"  # type: ignore[assignment]

        def values(self, made: Pixels, true: Pixels, observation: Observation) -> Tensor:
            value = l1(made, true, self.weight(observation))
            if fault == "batch":  # normalised by the batch it happens to be in
                return value + made.double().std()
            return torch.ones_like(value) if fault == "blind" else value

    with pytest.raises(AssertionError, match=words):
        check_metric("planted")


def test_settings_that_lose_a_field() -> None:
    class Inner(Strict):
        """A table below another."""

        kept: int = 1
        """Kept."""

    class Loses(Strict):
        kind: Literal["loses"] = "loses"
        lost: float = Field(default=1.0, exclude=True)
        """Not written."""

    class Narrow(Inner):
        deeper: int = 2
        """Lost, since the slot is written as an Inner."""

    class Slot(Strict):
        slot: Inner = Narrow()
        """A slot with too narrow a type."""

    class Silent(Strict):
        silent: int = 1

    class Loose(Inner):
        model_config = {"extra": "ignore"}

    for config, words in (
        (Loses(), r"loses \['lost'\]"),
        (Slot(), r"slot loses \['deeper'\]"),
        (Silent(), "silent has no help"),
        (Loose(), "takes unknown keys"),
    ):
        with pytest.raises(AssertionError, match=words):
            check_config(config)
    check_config(Inner())


@pytest.mark.parametrize(
    ("fault", "words"), [("order", "loading twice gave other"), ("overlap", "images of another part")]
)
def test_a_source_with_a_fault(fault: str, words: str) -> None:
    class Bad(Source):
        class Config(SourceConfig):
            kind: Literal["planted"] = "planted"

        def read(self) -> Dataset:
            rng = Generator()
            rng.seed() if fault == "order" else rng.manual_seed(0)
            images = torch.randint(256, (9, 1, 8, 8), generator=rng, dtype=torch.uint8)
            start = 0 if fault == "overlap" else 6
            return Dataset("planted", Split(images[:6]), Split(images[start : start + 1]), Split(images[7:]))

    with pytest.raises(AssertionError, match=words):
        check_source("planted")
