"""Kinds: how one word in a settings file becomes an object, without a list that anyone has to edit.

A *root* (Task, Family, Metric ...) is an abstract class; a *kind* is a final class below it with a nested `Config` whose
field `kind` holds its name. A file dropped into the root's package is found by existing: nothing else names it.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import warnings
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar, TypeVar

from pydantic import PlainValidator, ValidationInfo, model_validator

from sfumato.config import Strict
from sfumato.errors import ConfigError, shortened

K = TypeVar("K", bound="Kind")


# Beside the classes and not in them, so that a family may call a buffer or a layer as it likes.
_registry: dict[type[Kind], dict[str, type[Kind]]] = {}


class Kind:
    """A class that a settings file can name; subclasses register themselves under their root.

    Declare a root with `class Task(Kind, ABC, root=True)`, an unfinished class with `abstract=True`. Every other declares
    `class Config(Strict): kind: Literal["inpainting"] = "inpainting"`.

    Raises: ConfigError: a subclass has no `Config`, or its name is taken.
    """

    Config: ClassVar[type[Strict]]

    def __init_subclass__(cls, root: bool = False, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if root:
            _registry[cls] = {}
        if root or abstract:
            return
        if "Config" not in cls.__dict__ or "kind" not in cls.Config.model_fields:
            raise ConfigError(f"{cls.__name__} needs a nested Config with a field `kind`, so that a file can name it")
        name = cls.Config.model_fields["kind"].default
        kinds, root_name = kinds_of(cls), root_of(cls).__name__.lower()
        taken = kinds.get(name)
        if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ConfigError(f"the {root_name} kind {name!r} is already {taken.__module__}; choose another name")
        kinds[name] = cls
        cls.Config.owner = cls


def root_of(cls: type[Kind]) -> type[Kind]:
    """The root that a kind is below; a root's is itself."""
    return next(base for base in cls.__mro__ if base in _registry)


def all_roots() -> list[type[Kind]]:
    """The roots that were declared so far."""
    return list(_registry)


def kinds_of(root: type[Kind]) -> dict[str, type[Kind]]:
    """The kinds of a root that are known so far, by name; `discover` looks for all."""
    return _registry[root_of(root)]


def discover(root: type[Kind]) -> dict[str, type[Kind]]:
    """All kinds of a root, after importing every module of the package that the root was declared in.

    Example:
        >>> from sfumato.tasks import Task
        >>> sorted(discover(Task))[:4]
        ['colourisation', 'deblurring', 'denoising', 'generation']
    """
    package = importlib.import_module(root.__module__.rpartition(".")[0])
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
    installed()
    return dict(sorted(kinds_of(root).items()))


@cache
def installed() -> tuple[str, ...]:
    """Import what installed packages offer in the entry-point group `sfumato.kinds`; one that fails warns and is left out."""
    found = []
    for point in entry_points(group="sfumato.kinds"):
        try:
            point.load()
            found.append(point.name)
        except Exception as error:  # somebody else's package may fail in any way, and is no reason to stop
            warnings.warn(f"the kinds of {point.name} ({point.value}) cannot be imported: {error}", stacklevel=2)
    return tuple(found)


def find(root: type[Kind], name: str) -> type[Kind]:
    """The kind called `name`.

    Raises: ConfigError: no such kind; the message lists those known.
    """
    kinds = kinds_of(root)
    if name not in kinds:
        discover(root)
    if name not in kinds:
        near = get_close_matches(name, kinds, 1, 0.6)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise ConfigError(
            f"unknown {root.__name__.lower()} kind {shortened(name)}{meant}; known: {', '.join(sorted(kinds))}"
        )
    return kinds[name]


def parse(root: type[Kind], value: object, default: str | None = None) -> Strict:
    """Read a config of one of the root's kinds from its name, a table with `kind` (or of the default one), or a config.

    Raises: ConfigError: no or an unknown kind. pydantic.ValidationError: a wrong key or value, with its path.
    """
    if isinstance(value, str):
        value = {"kind": value}
    if isinstance(value, Strict):
        owner = value.owner
        if owner is None or root_of(owner) is not root_of(root):
            raise ConfigError(f"{type(value).__qualname__} is not the Config of a {root.__name__.lower()} kind")
        return value
    if isinstance(value, dict) and "kind" not in value and default is not None:
        value = {"kind": default, **value}
    if not isinstance(value, dict) or "kind" not in value:
        raise ConfigError(f"a {root.__name__.lower()} is a name or a table with a key `kind`; got {shortened(value)}")
    return find(root, str(value["kind"])).Config.model_validate(value)


def choice(root: type[Kind], default: str | None = None) -> PlainValidator:
    """The annotation of a slot: `schedule: Annotated[Any, choice(Schedule, "cosine")]` takes any schedule's config.

    A table without `kind` changes settings of the default: `sampler = { steps = 50 }` (see `Strict`).
    """
    return PlainValidator(lambda value: parse(root, value, default), json_schema_input_type=dict[str, Any] | str)


def import_plugins(names: Any) -> None:
    """Import modules of a user's own, from the working directory too, so that the kinds in them are known.

    Raises: ConfigError: not a list of names, or one of them cannot be imported.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"plugins is a list of module names, as in ['my.model']; got {shortened(names)}")
    for name in names:
        here = os.getcwd()
        sys.path.append(here)
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # a module of the user's own may fail in any way
            raise ConfigError(f"plugins: cannot import {name!r} ({error}); install it or correct its name") from None
        finally:
            sys.path.remove(here)


class Plugins(Strict):
    """Settings that may name kinds from outside sfumato: the modules that hold those are imported before anything is read."""

    plugins: list[str] = []
    """Python modules to import first, for kinds that live outside sfumato."""

    @model_validator(mode="before")
    @classmethod
    def _plugins(cls, values: Any, info: ValidationInfo) -> Any:
        if isinstance(values, dict) and (info.context or {}).get("trusted", True):
            import_plugins(values.get("plugins", []))
        return values


def build(config: Strict, *args: Any, **kwargs: Any) -> Any:
    """Make the object that a config describes: `build(config, ...)` is `Owner(config, ...)`."""
    if config.owner is None:
        raise ConfigError(f"{type(config).__qualname__} is not the Config of a kind, so it cannot be built")
    return config.owner(config, *args, **kwargs)
