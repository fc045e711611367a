"""Checkpoints: folders of safetensors and JSON, written whole or not at all.

A checkpoint is written beside its final place and renamed into it; older ones go only afterwards. So a `kill -9` at any
moment leaves either the old or the new one, both complete.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sfumato.errors import DataError, WeightsError
from sfumato.files import write_atomic


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write one safetensors file atomically.

    Raises: DataError: no space or no permission; an older file at `path` stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, temporary)
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # safetensors writes for its owner alone
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot write {path}: {error}; free some space or choose another folder") from None
    finally:  # after Ctrl-C too
        with suppress(OSError):
            temporary.unlink()


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises: WeightsError: missing, truncated, or not safetensors.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot read weights from {path}: {error}; train again or bring the whole file") from None


def half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with numbers of 16 bits instead of 32, half as large, for a model to be shipped.

    Raises: WeightsError: a number that 16 bits cannot hold.
    """
    small = {name: value.half() if value.dtype == torch.float32 else value for name, value in tensors.items()}
    for name, value in small.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise WeightsError(f"{name} holds numbers beyond what half precision can; save it whole")
    return small


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as they are computed with: what was kept in half precision in 32 bits."""
    return {name: value.float() if value.dtype == torch.float16 else value for name, value in tensors.items()}


def require_fit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str) -> None:
    """Hold tensors from a file against those they are to replace: names, shapes, types, and no infinite number.

    Raises: WeightsError: they differ; the message names the first difference.
    """
    again = "bring the right file back, or remove it and train again"
    if odd := sorted(set(found) ^ set(wanted)):
        state = "lacks" if odd[0] in wanted else "has, beyond what its settings ask for,"
        raise WeightsError(f"{what} {state} {odd[0]}{f' and {len(odd) - 1} more' if len(odd) > 1 else ''}; {again}")
    for name, value in found.items():
        _require_like(name, value, wanted[name].shape, wanted[name].dtype, what, again)


def _require_like(name: str, value: Tensor, shape: torch.Size, dtype: torch.dtype, what: str, again: str) -> None:
    if value.shape != shape or value.dtype != dtype:
        is_, needed = (
            f"{tuple(size)} of {str(kind)[6:]}" for size, kind in ((value.shape, value.dtype), (shape, dtype))
        )
        raise WeightsError(f"{what}: {name} is {is_}, where {needed} is needed; {again}")
    if value.is_floating_point() and not bool(value.isfinite().all()):
        raise WeightsError(f"{what}: {name} holds numbers that are not finite; {again}")


def save_checkpoint(folder: Path, images: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write `folder/checkpoint-<images>` and remove the older ones.

    Raises: DataError: it cannot be written; the older checkpoint stays.
    """
    final = folder / f"checkpoint-{images:012d}"
    if final.exists():
        return
    temporary = folder / f".{final.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        save_tensors(tensors, temporary / "state.safetensors")
        write_atomic(temporary / "state.json", json.dumps(facts))
        temporary.rename(final)
    except OSError as error:
        raise DataError(f"cannot write {final}: {error}; free some space or choose another folder") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for older in checkpoints(folder)[:-1]:
        shutil.rmtree(older, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """All complete checkpoints of a run, the newest last."""
    return sorted(path for path in folder.glob("checkpoint-*") if (path / "state.json").is_file())


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint of a run, or None.

    Raises: WeightsError: its files are damaged.
    """
    found = checkpoints(folder)
    if not found:
        return None
    try:
        facts = json.loads((found[-1] / "state.json").read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"cannot read {found[-1] / 'state.json'}: {error}; remove that folder to start again"
        ) from None
    return load_tensors(found[-1] / "state.safetensors"), facts


def drop_checkpoints(folder: Path) -> None:
    """Remove all checkpoints and what an interrupted one left behind; a finished run needs none."""
    for path in [*folder.glob("checkpoint-*"), *folder.glob(".checkpoint-*.tmp")]:
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".*.tmp"):  # of a process that was killed
        path.unlink(missing_ok=True)


def optimizer_tensors(name: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as named tensors."""
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"optimizer.{name}.{i}.{key}": value for i, part in state.items() for key, value in part.items()}


def restore_optimizer(name: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put saved state back; an optimiser that had not stepped yet stays fresh.

    Raises: WeightsError: it is of other weights, or not finite.
    """
    what, again = f"the optimiser of {name}", "remove the checkpoint to start again"
    prefix = f"optimizer.{name}."
    state: dict[int, dict[str, Tensor]] = {}
    weights = [weight.detach() for group in optimizer.param_groups for weight in group["params"]]
    for full, value in tensors.items():
        if full.startswith(prefix):
            place, key = full.removeprefix(prefix).split(".", 1)
            if not place.isdecimal() or int(place) >= len(weights):
                raise WeightsError(f"{what} has state for a weight {place} that does not exist; {again}")
            like = weights[int(place)]
            shape = like.shape if value.ndim else value.shape  # a count of steps is a single number
            _require_like(full, value, shape, value.dtype if not value.ndim else like.dtype, what, again)
            if value.shape == like.shape:  # the fused step reads memory in the order of the weight (channels_last)
                value = torch.empty_like(like).copy_(value)
            state.setdefault(int(place), {})[key] = value
    known = {key for part in state.values() for key in part}
    for number, part in state.items():
        if lost := sorted(known - set(part)):
            raise WeightsError(f"{what} lacks {lost[0]} of weight {number}; {again}")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
