"""Pairing: which of the second names belongs to each of the first, by name, by number, or by order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

How = Literal["name", "number", "order"]


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key under which 2 stands before 10.

    Example:
        >>> sorted(["a10", "a2", "b1"], key=natural)
        ['a2', 'a10', 'b1']
    """
    parts = re.split(r"([0-9]+)", name)
    return tuple((0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part) for part in parts)


def numbers(name: str) -> tuple[int, ...]:
    """The numbers in a name; folders above it count too.

    Example:
        >>> numbers("scene 2/mask_010")
        (2, 10)
    """
    return tuple(int(digits) for digits in re.findall(r"[0-9]+", name))


def matches(first: Sequence[str], second: Sequence[str]) -> tuple[list[int] | None, How]:
    """For each first name the place of the second that belongs to it, and how that was found; None where nothing is.

    By name where every first name is among the second ones; else by number, where the numbers in the names tell all of them
    apart and agree; else, for as many of each, by the natural order of the names. Of the second there may be more but for
    order.

    Example:
        >>> matches(["0", "1", "2"], ["mask_1", "mask_2", "mask_0"])
        ([2, 0, 1], 'number')
    """
    known = {name: place for place, name in enumerate(second)}
    if all(name in known for name in first):
        return [known[name] for name in first], "name"
    by_number = {numbers(name): place for place, name in enumerate(second)}
    apart = max(Counter(numbers(name) for name in [*first]).values(), default=0) == 1 and len(by_number) == len(second)
    if apart and all(numbers(name) and numbers(name) in by_number for name in first):
        return [by_number[numbers(name)] for name in first], "number"
    if len(first) != len(second):
        return None, "order"
    one = sorted(range(len(first)), key=lambda place: natural(first[place]))
    two = sorted(range(len(second)), key=lambda place: natural(second[place]))
    places = dict(zip(one, two, strict=True))
    return [places[place] for place in range(len(first))], "order"
