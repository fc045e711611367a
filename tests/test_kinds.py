"""Kinds: names that become objects, and messages that list the names there are."""

from abc import ABC
from collections.abc import Iterator
from typing import Literal

import pytest
import torch
from pydantic import ValidationError

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.families.base import Family, Player, Stage
from sfumato.images import Images, Size
from sfumato.kinds import Kind, build, discover, find, kinds_of, parse
from sfumato.networks.condition import Condition
from sfumato.restorers.base import Restorer
from sfumato.restorers.telea import Telea
from sfumato.streams import Rngs
from sfumato.tasks.base import Task
from sfumato.tasks.inpainting import Inpainting
from sfumato.tasks.masks import Box, Centre


class Colour(Kind, ABC, root=True):
    """A root of our own, so that no real one is touched."""

    def __init__(self, config: Strict):
        self.config = config


class Red(Colour):
    class Config(Strict):
        kind: Literal["red"] = "red"
        depth: int = 3


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    before = dict(kinds_of(Colour))
    yield
    kinds_of(Colour).clear()
    kinds_of(Colour).update(before)


@pytest.mark.parametrize("root", [Task, Restorer])
def test_an_unknown_kind_lists_those_known(root: type[Kind]) -> None:
    with pytest.raises(ConfigError, match=f"unknown {root.__name__.lower()} kind 'painting'") as caught:
        find(root, "painting")
    for name in discover(root):
        assert name in str(caught.value)


def test_a_kind_without_config_is_refused() -> None:
    with pytest.raises(ConfigError, match="Blue needs a nested Config"):
        type("Blue", (Colour,), {})
    with pytest.raises(ConfigError, match="Blue needs a nested Config"):
        type("Blue", (Colour,), {"Config": type("Config", (Strict,), {})})
    assert list(kinds_of(Colour)) == ["red"]


def test_an_inherited_config_is_not_one_s_own() -> None:
    with pytest.raises(ConfigError, match="Crimson needs a nested Config"):
        type("Crimson", (Red,), {})


def test_a_name_can_be_taken_once() -> None:
    class Config(Strict):
        kind: Literal["red"] = "red"

    with pytest.raises(ConfigError, match="'red' is already"):
        type("OtherRed", (Colour,), {"Config": Config})
    assert kinds_of(Colour)["red"] is Red


def test_an_abstract_kind_has_no_name() -> None:
    class Unfinished(Colour, abstract=True):
        pass

    assert list(kinds_of(Colour)) == ["red"]


def test_names_belong_to_their_root() -> None:
    assert "red" not in discover(Task) and "inpainting" not in kinds_of(Colour)


@pytest.mark.parametrize("value", ["red", {"kind": "red"}, Red.Config()])
def test_three_ways_to_say_one_thing(value: object) -> None:
    assert parse(Colour, value) == Red.Config()
    made = build(parse(Colour, value))
    assert type(made) is Red and made.config.depth == 3


def test_settings_travel() -> None:
    assert build(parse(Colour, {"kind": "red", "depth": 8})).config.depth == 8
    assert parse(Task, {"kind": "inpainting", "mask": {"kind": "centre", "fraction": 0.5}}).mask.fraction == 0.5


@pytest.mark.parametrize("value", [None, 3, {}, {"depth": 3}, ["red"]])
def test_neither_name_nor_table(value: object) -> None:
    with pytest.raises(ConfigError, match="a colour is a name or a table with a key `kind`"):
        parse(Colour, value)


def test_a_config_of_another_root_is_refused() -> None:
    with pytest.raises(ConfigError, match="not the Config of a colour"):
        parse(Colour, Telea.Config())
    with pytest.raises(ConfigError, match="not the Config of a colour"):
        parse(Colour, Strict())
    with pytest.raises(ValidationError, match="not the Config of a masklaw"):
        Inpainting.Config(mask=Telea.Config())


def test_an_unknown_setting_of_a_kind_is_refused() -> None:
    with pytest.raises(ValidationError, match="breadth"):
        parse(Colour, {"kind": "red", "breadth": 1})


def test_only_a_kind_s_config_can_be_built() -> None:
    with pytest.raises(ConfigError, match="not the Config of a kind"):
        build(Strict())


def test_slots_take_configs_names_and_tables() -> None:
    assert Inpainting.Config().mask == Box.Config()
    assert Inpainting.Config(mask="centre") == Inpainting.Config(mask=Centre.Config()) != Inpainting.Config()


def test_installed_packages_offer_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from sfumato import kinds

    good = EntryPoint("good", "json:dumps", "sfumato.kinds")
    bad = EntryPoint("bad", "no_such_module_anywhere", "sfumato.kinds")
    monkeypatch.setattr(kinds, "entry_points", lambda group: [good, bad] if group == "sfumato.kinds" else [])
    kinds.installed.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"the kinds of bad \(no_such_module_anywhere\) cannot be imported"):
            assert kinds.installed() == ("good",)
    finally:
        kinds.installed.cache_clear()


def test_a_family_may_call_a_buffer_or_a_layer_as_it_likes() -> None:
    class Named(Family, abstract=True):
        def build(self) -> None:
            self.register_buffer("root", torch.zeros(1))
            self.kinds = torch.nn.Linear(1, 1)

        def players(self, stage: Stage) -> list[Player]:
            return []

        def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
            raise NotImplementedError

    class Config(Strict):
        kind: str = "named"

    assert set(Named(Config(), DataSpec(channels=1, size=8)).state_dict()) == {"root", "kinds.weight", "kinds.bias"}
