"""Settings: validated, frozen data that comes from TOML, JSON or Python and goes back without loss.

An unknown key is an error that names its path; the string under a field is its help. `--set a.b=3` overrides one value.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from sfumato.errors import ConfigError, DataError, shortened

S = TypeVar("S", bound="Strict")


class Strict(BaseModel):
    """A frozen table of settings that refuses unknown keys.

    Example:
        >>> class Budget(Strict):
        ...     images: int = 1000
        >>> load(Budget, {"images": 5})
        Budget(images=5)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
    owner: ClassVar[Any] = None  # the Kind that this table configures, if it is one's Config

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A table without `kind` in a slot changes settings of what stands there by default, and keeps its others.

        Tables without slots are left alone: a validator before them would cost them pydantic's rules for strict JSON.
        """
        schema = handler(source)
        fields = cls.__pydantic_fields__.items()
        slots = {
            name: field.default for name, field in fields if isinstance(field.default, Strict) and field.default.owner
        }
        return core_schema.no_info_before_validator_function(partial(_completed, slots), schema) if slots else schema

    def changed(self, name: str) -> bool:
        """Whether a setting differs from its default; unlike pydantic's fields_set this survives JSON."""
        return bool(getattr(self, name) != type(self).model_fields[name].get_default(call_default_factory=True))

    def to_json(self) -> str:
        """Every value, defaults included, as indented JSON: `load(cls, json.loads(text)) == self`."""
        return self.model_dump_json(indent=2)


def _completed(slots: Mapping[str, Strict], values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    given = {name: values[name] for name in slots if isinstance(values.get(name), dict) and "kind" not in values[name]}
    return values | {name: merged(json.loads(slots[name].to_json()), table) for name, table in given.items()}


def merged(default: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The default's settings with those that are given, table by table; a table that names its kind stands for itself.

    Example:
        >>> merged({"kind": "heun", "steps": 18, "spacing": {"kind": "karras", "rho": 7.0}}, {"spacing": {"rho": 5.0}})
        {'kind': 'heun', 'steps': 18, 'spacing': {'kind': 'karras', 'rho': 5.0}}
    """
    answer = dict(default)
    for name, value in given.items():
        old = default.get(name)
        inside = isinstance(value, dict) and "kind" not in value and isinstance(old, dict)
        answer[name] = merged(old, value) if inside else value  # type: ignore[arg-type]
    return answer


def load(cls: type[S], values: Mapping[str, Any], where: str = "settings", *, trusted: bool = True) -> S:
    """Validate a table; modules that it names (`plugins`) are imported unless it is not trusted.

    Raises: ConfigError: one line for the first wrong value with its path, and how many more there are.
    """
    try:
        return cls.model_validate(values, context={"trusted": trusted})
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_line(error)}") from None
    except RecursionError:
        raise ConfigError(f"{where}: nested too deeply to be settings; flatten it") from None


def _first_line(error: ValidationError) -> str:
    first, *rest = error.errors(include_url=False)
    path = ".".join(str(part) for part in first["loc"]) or "(top)"
    message = str(first.get("ctx", {}).get("error", first["msg"]))
    if first["type"] == "extra_forbidden":
        message = "unknown key; remove it or check its spelling"
    else:
        shown = repr(first.get("input"))
        if first["loc"]:
            message = f"{message} (got {shown if len(shown) < 80 else shown[:77] + '...'})"
    message = message if len(message) <= 600 else message[:597] + "..."
    return f"{path}: {message}" + (f"; and {len(rest)} more" if rest else "")


def read(path: Path) -> dict[str, Any]:
    """Read a TOML or JSON file into a table.

    Raises: DataError: the file is missing or unreadable. ConfigError: it is not TOML or JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}; give a .toml or .json file") from None
    try:
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply to be settings; flatten it") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}; a table of settings was expected")
    return values


def override(values: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Return a copy with `path=value` settings applied; a number in a path indexes a list, values read as TOML.

    Raises: ConfigError: no `=`, or the path leads through something that is not a table.

    Example:
        >>> override({"budget": {"images": 1}}, ["budget.images=2_000", "title=a b"])
        {'budget': {'images': 2000}, 'title': 'a b'}
    """
    result: dict[str, Any] = json.loads(json.dumps(values, default=str))
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"--set {shortened(setting)}: write path=value, as in budget.images=2000")
        *parents, last = path.strip().split(".")
        place: Any = result
        for name in parents:
            place = _step(place, name, setting)
        if isinstance(place, list):
            place[_index(place, last, setting)] = _value(text)
        elif isinstance(place, dict):
            place[last] = _value(text)
        else:
            raise ConfigError(f"--set {shortened(setting)}: {parents[-1]!r} is {shortened(place)}, not a table")
    return result


def _step(place: Any, name: str, setting: str) -> Any:
    key: Any = name
    if isinstance(place, list):
        key = _index(place, name, setting)
    elif isinstance(place, dict):
        place.setdefault(name, {})
    else:
        raise ConfigError(f"--set {shortened(setting)}: cannot go into {name!r}, which lies below a plain value")
    if isinstance(place[key], str):
        place[key] = {"kind": place[key]}  # `data = "digits"` is short for a table, so a path may go on into it
    return place[key]


def _index(place: list[Any], name: str, setting: str) -> int:
    if not name.isdecimal() or int(name) >= len(place):
        raise ConfigError(
            f"--set {shortened(setting)}: {name!r} is not an index of a list of {len(place)}; use 0 to {len(place) - 1}"
        )
    return int(name)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):  # brackets by the thousand are no list either
        return text.strip()
