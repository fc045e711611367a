"""Settings: unknown keys name their path, overrides, files that are none, and studies that survive a round trip."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sfumato.config import Strict, load, override, read
from sfumato.errors import ConfigError, DataError
from sfumato.files import write_atomic
from sfumato.studies.study import Study, read_study, scaled

STUDIES = sorted((Path(__file__).parent.parent / "studies").rglob("*.toml"))
SMALL: dict[str, Any] = {
    "title": "t",
    "data": "digits",
    "tasks": [{"kind": "inpainting", "mask": {"kind": "centre"}}],
    "methods": [{"name": "Telea", "restorer": "telea"}],
}


class Inner(Strict):
    images: int = 10
    rate: float = 0.1


class Outer(Strict):
    title: str = "t"
    budget: Inner = Inner()
    seeds: list[int] = [0]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_every_study_survives_a_round_trip(path: Path) -> None:
    study = read_study(path)
    assert Study(**json.loads(study.to_json())) == study
    assert load(Study, json.loads(study.to_json())) == study
    assert json.loads(study.to_json())["methods"][0]["name"] == study.methods[0].name


def test_there_are_studies() -> None:
    assert STUDIES


def test_a_scaled_study_survives_too() -> None:
    study = scaled(read_study(STUDIES[0]), 0.01)
    assert Study(**json.loads(study.to_json())) == study != read_study(STUDIES[0])


def changed(*place: str | int, value: object) -> dict[str, Any]:
    values = json.loads(json.dumps(SMALL))
    *parents, last = place
    inside = values
    for name in parents:
        inside = inside[name]
    inside[last] = value
    return values


@pytest.mark.parametrize(
    ("values", "path"),
    [
        (changed("titel", value=1), "titel"),
        (changed("budget", value={"image": 5}), "budget.image"),
        (changed("methods", 0, "colour", value=1), "methods.0.colour"),
        (changed("methods", 0, "restorer", value={"kind": "telea", "radus": 2}), "methods.0.restorer.radus"),
        (changed("tasks", 0, "mask", "fracton", value=0.5), "tasks.0.mask.fracton"),
        (changed("data", value={"kind": "digits", "tset": 4}), "data.tset"),
    ],
)
def test_an_unknown_key_names_its_path(values: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Study, values, "a.toml")
    assert str(caught.value).startswith(f"a.toml: {path}: unknown key") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (changed("budget", value={"images": -5}), ("budget.images", "-5")),
        (changed("seeds", value="many"), ("seeds", "'many'")),
        (changed("tasks", value=["painting"]), ("tasks.0", "painting", "inpainting", "outpainting")),
        (changed("tasks", value=[{"mask": "box"}]), ("tasks.0", "key `kind`")),
        (changed("seeds", value=[1, 1]), ("seeds", "make them differ")),
        (changed("methods", 0, "restorer", value="conditional"), ("Telea", "needs a family")),
        (changed("methods", 0, "family", value="wgan"), ("Telea", "uses no family")),
    ],
)
def test_a_wrong_value_names_its_path_and_what_is_allowed(values: dict[str, Any], parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Study, values)
    assert all(part in str(caught.value) for part in parts) and "\n" not in str(caught.value)


def test_more_than_one_wrong_value_is_counted() -> None:
    with pytest.raises(ConfigError, match="; and 2 more"):
        load(Outer, {"title": 3, "budget": {"images": "x", "rat": 1}})


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(ConfigError) as caught:
        load(Outer, {"title": list(range(1000))})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ConfigError, match=r"budget\.rate"):
        load(Outer, {"budget": {"rate": value}})


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Outer().title = "other"


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("budget.images=2_000", ("budget", "images"), 2000),
        ("budget.rate=1e-3", ("budget", "rate"), 0.001),
        ("title=a b", ("title",), "a b"),
        ("title='a = b'", ("title",), "a = b"),
        ("title=a=b", ("title",), "a=b"),
        ("seeds=[1, 2]", ("seeds",), [1, 2]),
        ("seeds.1=7", ("seeds", 1), 7),
        ("flag=true", ("flag",), True),
        ("new.deep.key=1", ("new", "deep", "key"), 1),
        (" budget.images =5", ("budget", "images"), 5),
        ("table={a = 1}", ("table", "a"), 1),
    ],
)
def test_override(setting: str, path: tuple[Any, ...], value: object) -> None:
    before = {"title": "t", "budget": {"images": 1, "rate": 0.5}, "seeds": [0, 1]}
    kept = json.loads(json.dumps(before))
    made: Any = override(before, [setting])
    for name in path:
        made = made[name]
    assert made == value and type(made) is type(value)
    assert before == kept


def test_overrides_apply_in_order_and_change_nothing_else() -> None:
    made = override({"a": {"b": 1, "c": 2}}, ["a.b=3", "a.b=4"])
    assert made == {"a": {"b": 4, "c": 2}}


def test_a_path_goes_on_into_a_name() -> None:
    assert override({"data": "digits"}, ["data.test=5"]) == {"data": {"kind": "digits", "test": 5}}
    made = override({"methods": [{"family": "ddpm"}]}, ["methods.0.family.width=8"])
    assert made == {"methods": [{"family": {"kind": "ddpm", "width": 8}}]}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("budget.images", "write path=value"),
        ("=5", "write path=value"),
        ("seeds.9=1", "use 0 to 1"),
        ("seeds.x=1", "not an index"),
        ("seeds.-1=1", "not an index"),
        ("budget.images.x=1", "not a table"),
        ("budget.images.x.y=1", "plain value"),
    ],
)
def test_overrides_that_lead_nowhere(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        override({"budget": {"images": 1}, "seeds": [0, 1]}, [setting])
    assert repr(setting) in str(caught.value)


def test_an_override_reaches_the_study(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps(SMALL))
    study = read_study(path, ["seeds=[3, 4]", "methods.0.restorer.radius=5", "data.test=9"])
    assert (study.seeds, study.methods[0].restorer.radius, study.data.test) == ([3, 4], 5.0, 9)
    with pytest.raises(ConfigError, match=r"budget\.imags: unknown key"):
        read_study(path, ["budget.imags=3"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "title = ", "not valid TOML"),
        ("a.toml", "a = 1\na = 2", "not valid TOML"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", "", "not valid JSON"),
        ("a.json", "[1]", "holds a list"),
    ],
)
def test_files_that_are_no_settings(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path / name)
    assert name in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.toml", tmp_path, tmp_path / "b.toml"):
        with pytest.raises(DataError, match="cannot read"):
            read(path)


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('title = "x"\n[budget]\nimages = 3\n')
    (tmp_path / "a.json").write_text('{"title": "x", "budget": {"images": 3}}')
    assert (
        load(Outer, read(tmp_path / "a.toml"))
        == load(Outer, read(tmp_path / "a.json"))
        == Outer(title="x", budget=Inner(images=3))
    )


def test_write_atomic(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "a.txt"
    write_atomic(path, "grüße")
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    path = tmp_path / "a.txt"
    write_atomic(path, "old")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if broken == "fsync" else (Path, "replace")), full)
    with pytest.raises(DataError, match="No space left on device"):
        write_atomic(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="cannot write"):
        write_atomic(tmp_path / "a", "x")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file, not a folder")
    with pytest.raises(DataError, match="cannot write"):
        write_atomic(tmp_path / "a" / "b.txt", "x")


def test_a_table_without_kind_keeps_the_other_settings_of_the_default() -> None:
    from sfumato.families.edm import EDM
    from sfumato.families.wgan import WGAN
    from sfumato.restorers.ddnm import DDNM

    assert DDNM.Config.model_validate({"sampler": {"steps": 7}}).sampler.eta == 0.85
    assert DDNM.Config.model_validate({"sampler": {"kind": "ddim", "steps": 7}}).sampler.eta == 0.0, "said as a whole"
    assert WGAN.Config.model_validate({"critic_optimizer": {"lr": 1e-4}}).critic_optimizer.betas == (0.5, 0.9)
    edm = EDM.Config.model_validate({"sampler": {"spacing": {"rho": 5.0}}})
    assert (edm.sampler.kind, edm.sampler.steps, edm.sampler.spacing.rho) == ("heun", 18, 5.0)
