"""Every kind keeps its contract: a new file is tested by existing, since the parameters come from `discover`."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.catalogue import roots
from sfumato.config import Strict
from sfumato.data.base import DataSpec, Source
from sfumato.errors import CapabilityError, ConfigError, DataError
from sfumato.families.adversaries import Adversaries
from sfumato.families.augment import Augmentation
from sfumato.families.base import Family
from sfumato.families.games import Game
from sfumato.features.base import Features
from sfumato.kinds import Kind, build, discover, parse, root_of
from sfumato.metrics.base import Metric
from sfumato.restorers.base import Restorer
from sfumato.tasks.base import Task
from sfumato.tasks.inpainting import Inpainting
from sfumato.tasks.masks import MaskLaw
from sfumato.testing import check_config, check_family, check_metric, check_restorer, check_source, check_task
from sfumato.testing.parts import short
from sfumato.training.run import make_family

SMALL = DataSpec(channels=1, size=8)
REQUIRED: dict[str, Any] = {
    "crops": {"path": "."},
    "exemplar": {"path": "a.png"},
    "folder": {"path": "."},
    "npz": {"path": "a.npz"},
    "memory": {"counts": [8, 1, 1], "shape": [1, 8, 8], "sha256": "0" * 64},
    "pairs": {"inputs": "inputs", "targets": "targets"},
    "classifier": {"data": "digits"},
    "grab_cut": {"box": [0, 0, 4, 4]},
}  # settings that have no default
BESIDE: dict[str, Any] = {"ada": {"game": "non_saturating"}}  # what a kind in a slot needs in another one
FEW = {"width": 8, "turns": 3, "steps": 1, "blocks": 1, "depth": 1, "couplings": 2}
QUICK: dict[str, Any] = {"frechet": {"features": {"kind": "lite0", "layer": "b4"}, "replicates": 4}}


def ours(root: type[Kind]) -> list[str]:
    return [name for name, cls in discover(root).items() if cls.__module__.startswith("sfumato.")]


def whole() -> list[str]:
    """Families that are not made of other trainings; those that are have their parts in tests of their own."""
    return [name for name in ours(Family) if not discover(Family)[name].wants]


def usable() -> list[str]:
    """Restorers that one of these families serves, or that need none."""
    kinds = discover(Restorer)
    served = [discover(Family)[name] for name in whole()]
    return [
        name
        for name in ours(Restorer)
        if not kinds[name].needs or any(issubclass(f, kinds[name].needs) for f in served)
    ]


def every() -> list[tuple[str, str]]:
    return [(name, kind) for name, root in roots().items() for kind in ours(root)]


def required(kind: Any) -> dict[str, Any]:
    """The settings of a kind that have no default."""
    fields = kind.Config.model_fields
    return REQUIRED[fields["kind"].default] if any(field.is_required() for field in fields.values()) else {}


def with_slot(kind: str, field: str, other: str) -> Any:
    """A small family with another kind in one of its slots, and what that kind asks for."""
    slot: dict[str, Any] = {"kind": other}
    root = root_of(getattr(parse(Family, kind), field).owner)
    if "steps" in discover(root)[other].Config.model_fields:
        slot["steps"] = 6  # a walk of a thousand steps shows nothing more here
    return parse(Family, {"kind": kind, **few(kind), "width": 4, field: slot, **BESIDE.get(other, {})})


def refused(kind: str, field: str, other: str) -> bool:
    """Whether a family says that another kind does not fit there: one that grows asks for networks that do."""
    try:
        make_family(with_slot(kind, field, other), SMALL, 0)
    except ConfigError:
        return True
    return False


def slots(root: type[Kind]) -> list[Any]:
    """Each kind of `root` with each of its slots set to every kind that fits there but the default one.

    What fits into many slots (an optimiser, a pair of networks) is tried in two of them: the others would show the same.
    """
    found: list[Any] = []
    tried: Counter[tuple[type, str]] = Counter()
    for name in whole() if root is Family else ours(root):
        if required(discover(root)[name]):
            continue
        default = parse(root, name)
        for field in type(default).model_fields:
            value = getattr(default, field)
            if not isinstance(value, Strict) or value.owner is None or issubclass(value.owner, Features):
                continue  # features come with weights that are not all here
            for other in ours(root_of(value.owner)):
                if other == value.kind or tried[root_of(value.owner), other] == 2:
                    continue
                if root is not Family or not refused(name, field, other):
                    tried[root_of(value.owner), other] += 1
                    found.append(pytest.param(name, field, other, id=f"{name}-{field}-{other}"))
    return found


@pytest.mark.parametrize(("root", "kind"), every())
def test_settings(root: str, kind: str) -> None:
    cls = roots()[root]
    check_config(parse(cls, {"kind": kind, **required(discover(cls)[kind])}))
    assert discover(cls)[kind].Config.model_fields["kind"].default == kind
    assert (discover(cls)[kind].__doc__ or "").strip(), "a kind needs a docstring: `sfumato kinds` shows it"


@pytest.mark.parametrize("kind", ours(Task))
def test_task(kind: str) -> None:
    check_task(kind)


@pytest.mark.parametrize("law", ours(MaskLaw))
def test_inpainting_with_every_mask_law(law: str) -> None:
    check_task(Inpainting.Config(mask=law))


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "super_resolution", "scale": 2},
        {"kind": "super_resolution", "law": "bicubic"},
        {"kind": "super_resolution", "preview": "pinv", "scale": 2},
        {"kind": "super_resolution", "law": "bicubic", "preview": "pinv", "scale": 2},
        {"kind": "outpainting", "visible": 0.01},
        {"kind": "outpainting", "visible": 0.99, "region": "known"},
        {"kind": "inpainting", "region": "all"},
        {"kind": "inpainting", "mask": {"kind": "centre", "fraction": 1.0}, "region": "known"},
    ],
    ids=str,
)
def test_task_settings(values: dict[str, Any]) -> None:
    check_task(parse(Task, values))


def few(kind: str) -> dict[str, Any]:
    """Settings of a family that is less deep and walks few steps, and no less of it."""
    config: Any = parse(Family, kind)
    settings: dict[str, Any] = {name: n for name, n in FEW.items() if name in type(config).model_fields}
    if hasattr(config, "sampler"):
        settings["sampler"] = config.sampler.model_copy(update={"steps": 6})
    return settings


@pytest.mark.parametrize("kind", whole())
def test_family(kind: str) -> None:
    check_family(parse(Family, {"kind": kind, **few(kind)}))


@pytest.mark.parametrize(("kind", "field", "other"), slots(Family))
def test_family_with_every_slot(kind: str, field: str, other: str) -> None:
    check_family(with_slot(kind, field, other), SMALL, restorers=False)


def test_every_pair_of_networks_game_and_change_fits_somewhere() -> None:
    tried = {str(case.id) for case in slots(Family)}
    defaults = {"residual", "relativistic", "diffaugment"}
    for root, field in ((Adversaries, "network"), (Game, "game"), (Augmentation, "augment")):
        for kind in set(ours(root)) - defaults:
            assert any(case.endswith(f"-{field}-{kind}") for case in tried), kind


@pytest.mark.parametrize("kind", usable())
def test_restorer(kind: str) -> None:
    check_restorer(short(discover(Restorer)[kind]))


@pytest.mark.parametrize("kind", ours(Metric))
def test_metric(kind: str) -> None:
    check_metric(parse(Metric, {"kind": kind, **QUICK.get(kind, {})}))


@pytest.mark.parametrize(
    "kind", [kind for kind in ours(Metric) if "region" in discover(Metric)[kind].Config.model_fields]
)
def test_metric_of_the_whole_image(kind: str) -> None:
    check_metric(parse(Metric, {"kind": kind, "region": "all"}))


def settings_of(kind: str, folder: Path) -> dict[str, Any]:
    """Files for the sources that read a user's own."""
    rng = np.random.default_rng(0)
    if kind == "crops":
        rng = np.random.default_rng(0)
        for part in ("train", "validation", "test"):
            (folder / part).mkdir()
            Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(folder / part / "a.png")
        return {"path": str(folder), "size": 8, "each": 20}
    if kind == "exemplar":
        Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(folder / "a.png")
        return {"path": str(folder / "a.png")}
    if kind == "folder":
        for part, count in (("train", 6), ("validation", 3), ("test", 3)):
            (folder / part).mkdir()
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / part / f"{i}.png")
        return {"path": str(folder), "size": 8}
    if kind == "memory":
        return REQUIRED[kind]
    if kind == "pairs":
        for side in ("inputs", "targets"):
            (folder / side).mkdir()
            for i in range(40):
                Image.new("RGB", (10, 8), (6 * i, 10, 20 * (side == "inputs"))).save(folder / side / f"{i}.png")
        return {side: str(folder / side) for side in ("inputs", "targets")} | {"size": 8}
    if kind == "npz":
        images = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8)
        np.savez(folder / "a.npz", images=images[:30], test_images=images[30:])
        return {"path": str(folder / "a.npz")}
    return {}


@pytest.mark.parametrize("kind", ours(Source))
def test_source(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in tests")

    try:
        import pooch
    except ImportError:
        pass
    else:
        monkeypatch.setattr(pooch, "retrieve", refuse)
        monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    config = parse(Source, {"kind": kind, **settings_of(kind, tmp_path)})
    try:
        build(config).load()
    except (CapabilityError, DataError) as error:  # a download: the message has to stand alone
        text = str(error)
        assert "\n" not in text and ("http" in text or "pip install" in text or "in memory" in text), text
        assert "data.root" in text or "pip install" in text or "give them again" in text, text
    else:
        check_source(config)


def test_checks_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    check_task("inpainting")
    check_restorer("conditional")
    assert torch.equal(before, torch.get_rng_state())
