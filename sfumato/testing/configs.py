"""The check of settings."""

from __future__ import annotations

import json
from typing import Any

from sfumato.config import Strict, load
from sfumato.errors import ConfigError
from sfumato.testing.parts import require


def check_config(config: Strict) -> None:
    """Settings survive JSON, name their kind, explain every field and refuse unknown keys.

    Raises: AssertionError: the first of these that fails.
    """
    name, fields = type(config).__qualname__, type(config).model_fields
    values = json.loads(config.to_json())
    _whole(config, values, name)
    require(load(type(config), values) == config, f"{name}: to_json and load do not give the same settings back")
    for field, info in fields.items():
        told = field == "kind" or bool((info.description or "").strip())
        require(told, f"{name}.{field} has no help; write a string under it")
    try:
        load(type(config), {**values, "no_such_key": 1})
    except ConfigError as error:
        require("no_such_key" in str(error), f"{name}: the error for an unknown key does not name it: {error}")
    else:
        raise AssertionError(f"{name} takes unknown keys; derive it from sfumato.config.Strict")


def _whole(value: Any, written: Any, path: str) -> None:
    """Every field of every table inside is in the JSON."""
    if isinstance(value, Strict):
        missing = set(type(value).model_fields) - set(written)
        require(
            not missing, f"{path} loses {sorted(missing)} in JSON; annotate a slot with Annotated[Any, choice(Root)]"
        )
        for field in type(value).model_fields:
            _whole(getattr(value, field), written[field], f"{path}.{field}")
    elif isinstance(value, list | tuple):
        for i, (one, text) in enumerate(zip(value, written, strict=True)):
            _whole(one, text, f"{path}.{i}")
