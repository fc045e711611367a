"""sfumato.torchmetrics: equal to our own metrics, to torchmetrics' where it has one, and to itself however it is fed.

torchmetrics' kernel distance draws subsets and its Inception Score shuffles by the global generator. So the first is
compared where a subset is the whole set, and the second after our own shuffle.
"""

import copy
import importlib
import math
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib import pyplot
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.image import fid, inception, kid

from sfumato import metrics, torchmetrics
from sfumato.errors import CapabilityError, ConfigError, DataError, DivergedError, ShapeError
from sfumato.features.lite0 import Lite0
from sfumato.images import to_unit
from sfumato.kinds import build, parse
from sfumato.maths.gaussians import frechet
from sfumato.maths.moments import Moments
from sfumato.metrics.distribution import canonical
from sfumato.torchmetrics import (
    FrechetDistance,
    InceptionScore,
    KernelDistance,
    Memorisation,
    MongeInceptionDistance,
    PrecisionRecall,
)

EVERY = [
    FrechetDistance,
    KernelDistance,
    InceptionScore,
    PrecisionRecall,
    Memorisation,
    MongeInceptionDistance,
]
B4, HEAD = Lite0.Config(layer="b4"), Lite0.Config(layer="head")


class Tiny(nn.Module):
    """Vectors of 12 numbers: means of 4 x 4 cells, mixed. Float64 numbers that float32 can hold too."""

    num_features = 12

    def __init__(self, seed: int = 0, offset: float = 0.0) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(48, 12, generator=rng, dtype=torch.float64) / 16)
        self.offset = offset

    def forward(self, pixels: Tensor) -> Tensor:
        cells = pixels.double().unflatten(3, (4, -1)).unflatten(2, (4, -1)).mean((3, 5)) / 64
        return (cells.flatten(1) @ self.weight).float().double() + self.offset


def images(seed: int, n: int = 70, high: int = 256) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    light = torch.rand(n, 3, 4, 4, generator=rng).repeat_interleave(4, 2).repeat_interleave(4, 3)
    return (light * torch.rand(n, 3, 16, 16, generator=rng) * high).to(torch.uint8)


MADE, REAL, TRAIN = images(0, 70, 220), images(1, 90), images(2, 80)


def fed(metric: Any, made: Tensor = MADE, real: Tensor = REAL, train: Tensor = TRAIN, batch: int = 1000) -> Any:
    for part in train.split(batch) if isinstance(metric, Memorisation) else ():
        metric.update_train(part)
    for part in made.split(batch):
        metric.update(part, real=False)
    for part in real.split(batch):
        metric.update(part, real=True)
    return metric


def figures(answer: Any) -> list[float]:
    return [float(value) for value in (answer.values() if isinstance(answer, dict) else [answer])]


def same(one: Any, two: Any, rel: float = 1e-11) -> bool:
    return figures(one) == pytest.approx(figures(two), rel=rel, abs=1e-15)


def only(cls: type[torchmetrics.FeatureMetric], **settings: Any) -> torchmetrics.FeatureMetric:
    return cls(Tiny(), **settings)


@pytest.mark.parametrize(
    ("cls", "kind", "feature", "settings"),
    [
        (FrechetDistance, "frechet", B4, {}),
        (FrechetDistance, "frechet", "lite0", {}),  # 112 features of 90 images: the route of few images
        (KernelDistance, "kernel", B4, {}),
        (KernelDistance, "kernel", B4, {"subsets": 3, "subset_size": 20}),
        (InceptionScore, "inception_score", HEAD, {"splits": 7}),
        (PrecisionRecall, "support", B4, {"k": 2, "k_density": 4}),
        (Memorisation, "memorisation", B4, {}),
    ],
)
def test_the_figures_are_those_of_our_metrics(cls: Any, kind: str, feature: Any, settings: dict[str, int]) -> None:
    table = {"kind": kind, "features": feature if isinstance(feature, str) else feature.model_dump(), **settings}
    own = build(parse(metrics.Metric, table))
    own.train(TRAIN)
    own.update(MADE, REAL[:70], None)  # observations play no part
    metric = fed(cls(feature, **settings), MADE, REAL[:70], batch=32)
    scores = own.scores()
    assert figures(metric.compute()) == pytest.approx([score.value for score in scores], rel=1e-9)
    assert metric.label == scores[0].label and scores[0].value != 0


@pytest.mark.parametrize("n", [5, 12, 13, 70])
def test_frechet_is_that_of_torchmetrics(n: int) -> None:
    theirs = fed(fid.FrechetInceptionDistance(Tiny()), MADE[:n])
    ours = fed(only(FrechetDistance), MADE[:n])
    assert float(ours.compute()) == pytest.approx(float(theirs.compute()), rel=1e-9 if n > 12 else 1e-6)
    floats = fed(only(FrechetDistance, normalize=True), to_unit(MADE[:n]), to_unit(REAL))
    assert same(floats.compute(), ours.compute())  # theirs hands floats to a module of one's own
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    for dtype in (torch.float32, torch.float64, torch.float16):
        assert torch.equal(torchmetrics.pixels_of(to_unit(levels).to(dtype), normalize=True), levels)


@pytest.mark.filterwarnings("ignore:Metric `(Kernel|Inception)")
def test_kernel_and_inception_score_are_those_of_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs: Any = fed(kid.KernelInceptionDistance(Tiny(), subsets=1, subset_size=70), MADE, REAL[:70])
    assert same(
        fed(only(KernelDistance), MADE, REAL[:70]).compute(), theirs.compute()[0], 1e-5
    )  # float32 products here
    for splits in (1, 10):
        theirs = inception.InceptionScore(Tiny(), splits=splits)
        theirs.update(MADE)
        theirs.features = [canonical(theirs.features[0])]
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))
            patch.setattr(torch.Tensor, "std", lambda x: x.sum())  # which warns of one part
            expected = theirs.compute()[0]
        assert same(fed(only(InceptionScore, splits=splits)).compute(), expected, 1e-9)


def test_large_means_lose_no_digits() -> None:
    far = Tiny(offset=3e5)
    with torch.no_grad():
        expected = frechet(Moments.of(Tiny()(MADE)), Moments.of(Tiny()(REAL)))
        rounded = frechet(Moments.of(far(MADE)), Moments.of(far(REAL)))  # 16 digits of the features themselves
    for batch in (1, 9, 1000):
        assert float(fed(FrechetDistance(far), batch=batch).compute()) == pytest.approx(rounded, rel=1e-9)
    theirs = float(fed(fid.FrechetInceptionDistance(far)).compute())
    assert abs(rounded - expected) < 1e-6 * expected < abs(theirs - expected)


@pytest.mark.parametrize("cls", EVERY)
def test_batches_order_and_copies_do_not_matter(cls: Any) -> None:
    whole = fed(only(cls)).compute()
    for batch in (1, 7, 12, 32):
        assert same(fed(only(cls), batch=batch).compute(), whole)
    assert same(fed(only(cls), MADE.flip(0), REAL.flip(0), TRAIN.flip(0)).compute(), whole)
    half = fed(only(cls), MADE[:30], REAL[:40], TRAIN[:50], batch=16)
    for other in (copy.deepcopy(half), pickle.loads(pickle.dumps(half)), half.clone()):
        assert same(fed(other, MADE[30:], REAL[40:], TRAIN[50:]).compute(), whole)
    assert not same(half.compute(), whole)
    other = fed(only(cls), MADE[30:], REAL[40:], TRAIN[50:], batch=9)
    if hasattr(other, "merge_state"):  # torchmetrics 1.4 has no such thing
        other.merge_state(half)
        assert same(other.compute(), whole)


@pytest.mark.parametrize("cls", EVERY)
def test_reset(cls: Any) -> None:
    metric, stays, whole = (
        fed(only(cls)),
        fed(only(cls, reset_real_features=False), images(5)),
        fed(only(cls)).compute(),
    )
    assert same(metric.compute(), whole) and not same(stays.compute(), whole)
    for _ in range(2):
        metric.reset()
        stays.reset()
        with pytest.raises(ShapeError, match=r"no fake images; give some by update\(imgs, real=False\)"):
            stays.side("fake")
        stays.update(MADE, real=False)
        assert same(fed(metric).compute(), whole) and same(stays.compute(), whole)  # nothing too much is left
    if cls is Memorisation:  # and a figure is not remembered for too long
        stays.update_train(MADE)
        assert not same(stays.compute(), whole)
    metric.reset()
    if cls is not InceptionScore:
        with pytest.raises(ShapeError, match=r"no real images; give some by update\(imgs, real=True\)"):
            metric.side("real")


@pytest.mark.parametrize("cls", EVERY)
def test_forward_judges_the_batch_and_takes_it_in(cls: Any) -> None:
    metric = only(cls, **({"splits": 5} if cls is InceptionScore else {}))
    whole, expected = fed(metric.clone()).compute(), fed(metric.clone(), MADE[30:60]).compute()
    if cls is InceptionScore:
        assert same(metric.clone()(MADE[30:60]), expected)  # it needs no word of what is real
    if cls is Memorisation:
        metric.update_train(TRAIN)
    for part in REAL.split(40):
        assert all(math.isnan(value) for value in figures(metric(part, real=True)))
    assert all(math.isnan(value) for value in figures(metric(MADE[:1], real=False))) or cls is Memorisation
    metric.update(MADE[1:30], real=False)
    answer = metric(MADE[30:60], real=False)
    assert same(answer, expected) and answer is metric._forward_cache
    metric(MADE[60:], real=False)
    assert same(metric.compute(), whole)


def test_a_collection() -> None:
    extractor = Tiny()
    collection = MetricCollection({cls.__name__: cls(extractor) for cls in EVERY})
    collection["Memorisation"].update_train(TRAIN)
    for part in (REAL[:50], REAL[50:]):
        collection.update(part, real=True)
    collection(MADE[:33], real=False)  # forward in between, where KernelDistance and PrecisionRecall share a state
    collection.update(MADE[33:], real=False)
    assert ["KernelDistance", "MongeInceptionDistance", "PrecisionRecall"] in collection.compute_groups.values()
    found = collection.compute()
    for cls in EVERY:
        answer = fed(only(cls)).compute()
        assert same({name: found[name] for name in cls.outputs or [cls.__name__]}, answer), cls


def test_a_collection_does_not_mix_what_only_looks_alike() -> None:
    one, two = Tiny(), Tiny(seed=1)
    collection = MetricCollection({"one": InceptionScore(one), "two": InceptionScore(two)})
    collection.update(REAL, real=True)  # which scores ignore: their states are equally empty
    stays = KernelDistance(one, reset_real_features=False)
    kept = MetricCollection({"kept": stays, "not": KernelDistance(one), "pr": PrecisionRecall(one)})
    found = fed(collection).compute()
    assert same(found["two"], fed(InceptionScore(two)).compute()) and not same(found["two"], found["one"])
    fed(kept).reset()
    assert len(kept["kept"].real_features) == 1 and not kept["not"].real_features and not kept["pr"].real_features


@pytest.mark.parametrize("cls", EVERY)
def test_precision_and_weights_are_no_state(cls: Any) -> None:
    metric, whole = fed(only(cls), batch=16), figures(fed(only(cls)).compute())
    metric.vectors(MADE)
    nn.ModuleList([metric]).half().double().bfloat16()
    metric.to(torch.float16).set_dtype(torch.float16)
    wanted = torch.float64 if cls is FrechetDistance else torch.float32
    states = [getattr(metric, f"{side}_features") for side in cls.sides]
    assert {x.dtype for state in states for x in ([state] if isinstance(state, Tensor) else state)} == {wanted}
    assert figures(metric.compute()) == pytest.approx(whole, rel=1e-9)
    assert metric.state_dict() == {} and list(metric.parameters()) == [] and list(metric.children()) == []
    assert metric.feature.module.weight.dtype == torch.float64 and not metric.feature.module.training
    metric.feature.module.weight.data.neg_()  # a module may change, and its vectors then do
    assert not torch.equal(metric.vectors(MADE), Tiny()(MADE)) and metric.to("meta").told.device.type == "meta"
    higher = cls not in (FrechetDistance, KernelDistance, MongeInceptionDistance)
    assert (cls.higher_is_better, cls.is_differentiable, cls.full_state_update) == (higher, False, False)


def test_state_can_be_saved_where_it_is_wanted() -> None:
    for cls in EVERY:
        metric, fresh = fed(only(cls), batch=40), only(cls)
        metric.persistent(True)
        fresh.load_state_dict(metric.state_dict())
        fed(fresh, MADE[:0], REAL[:0], TRAIN[:0])  # a batch of nothing adds nothing
        assert same(fresh.compute(), metric.compute())
    assert len(pickle.dumps(KernelDistance("lite0"))) < 10_000


def worker(rank: int, folder: str) -> None:
    """One of two processes: unequal shares, then everything on one side only."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    made, real, train = ((x[:8], x[8:])[rank] for x in (MADE, REAL, TRAIN))
    answers = {}
    for cls in EVERY:
        metric = fed(only(cls), made, real, train, batch=25)
        first = metric.compute()
        more = fed(metric, images(6), images(7), images(8)).compute()  # its own share came back after the first figure
        lonely = fed(only(cls), batch=25) if rank == 0 else only(cls)
        lonely._update_count = 1  # or torchmetrics warns in the process without images
        answers[cls.__name__] = [first, more, lonely.compute()]
    torch.save(answers, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(worker, (str(tmp_path),), nprocs=2)
    answers = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for cls in EVERY:
        whole = fed(only(cls)).compute()
        extra = [torch.cat([x, images(seed), images(seed)]) for x, seed in ((MADE, 6), (REAL, 7), (TRAIN, 8))]
        more = fed(only(cls), *extra).compute()
        for first, second, lonely in (answer[cls.__name__] for answer in answers):
            assert same(first, whole) and same(lonely, whole), cls
            assert same(second, more), cls


Narrow = type("Narrow", (Tiny,), {"num_features": 11})
FLOATS, UNIT = to_unit(MADE), {"normalize": True}


@pytest.mark.parametrize(
    ("module", "settings", "imgs", "error", "match"),
    [
        (Tiny(), {}, FLOATS, ShapeError, r"uint8; for floats set normalize=True; got torch.float32"),
        (Tiny(), {}, MADE[0], ShapeError, r"\[N, C, H, W\].*\(3, 16, 16\)"),
        (Tiny(), UNIT, MADE, ShapeError, r"floats in \[0, 1\].*got torch.uint8"),
        (Tiny(), UNIT, FLOATS * 2 - 1, DataError, r"in \[0, 1\]; got -1 to 0\.\d+; rescale or clamp them"),
        (Tiny(), UNIT, FLOATS * 1.2, DataError, r"got 0 to 1\.0\d+"),
        (Tiny(), UNIT, FLOATS * math.nan, DataError, "got nan to nan"),
        (Tiny(offset=math.nan), {}, MADE, DivergedError, "840 of 840 feature values are not finite"),
        (Narrow(), {}, MADE, ShapeError, r"70 vectors of 11 numbers \(num_features\); got shape \(70, 12\)"),
    ],
)
@pytest.mark.parametrize("cls", [FrechetDistance, KernelDistance])
def test_bad_images(cls: Any, module: Any, settings: dict[str, Any], imgs: Tensor, error: Any, match: str) -> None:
    metric = cls(module, **settings)
    with pytest.raises(error, match=match) as told:
        metric.update(imgs, real=True)
    assert "\n" not in str(told.value)
    with pytest.raises(ShapeError, match="no real images"):
        metric.side("real")  # nothing was taken in


@pytest.mark.parametrize("cls", EVERY)
def test_too_few_images(cls: Any) -> None:
    with pytest.raises(ShapeError, match="no fake images"):
        fed(only(cls), MADE[:0]).compute()
    one = {"train": TRAIN[:0]} if cls is Memorisation else {"made": MADE[:1]}
    with pytest.raises(ShapeError, match=r"1 image has no|at least 2|as many images|more images|no train images"):
        fed(only(cls), **one).compute()


@pytest.mark.parametrize(
    ("cls", "feature", "settings", "error", "match"),
    [
        (FrechetDistance, nn.Linear(2, 3), {}, ConfigError, "Linear has no num_features; set it"),
        (FrechetDistance, "lite9", {}, ConfigError, "unknown features kind 'lite9'"),
        (FrechetDistance, Tiny(), {"dist_sync_on_step": True}, ConfigError, "dist_sync_on_step has no use"),
        (FrechetDistance, Tiny(), {"k": 3}, ValueError, "Unexpected keyword"),
        (PrecisionRecall, Tiny(), {"k": 0}, ValueError, "greater than or equal to 1"),
        (InceptionScore, "lite0", {}, CapabilityError, 'layer = "head"'),
    ],
)
def test_bad_settings(cls: Any, feature: Any, settings: dict[str, Any], error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        cls(feature, **settings)


def test_without_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.delitem(sys.modules, "sfumato.torchmetrics")
    with pytest.raises(CapabilityError, match=r"pip install 'sfumato\[torchmetrics\]'"):
        importlib.import_module("sfumato.torchmetrics")


def test_labels_and_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    pyplot.switch_backend("Agg")
    pyplot.close(fed(only(PrecisionRecall)).plot()[0])
    assert [only(cls).label for cls in EVERY] == [
        "FD-Tiny",
        "KD-Tiny",
        "CS-Tiny",
        "precision-Tiny",
        "AuthPct-Tiny",
        "MIND-Tiny",
    ]
    monkeypatch.setattr(torchmetrics.ModuleFeatures, "graph_2015", True)
    assert [only(cls).label for cls in EVERY[:3]] == ["FID-Tiny", "KID-Tiny", "IS-Tiny"]
