"""What `sfumato texture` does, with its progress and what it prints."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from sfumato import display, textures
from sfumato.config import Strict
from sfumato.errors import ConfigError
from sfumato.families.texture import Plane, Texture
from sfumato.images import opened_file, read_picture, to_uint8, write_picture

LARGE = 4_000_000  # pixels from which a PNG file is written as it is made


def texture(
    exemplar: Path,
    out: Path,
    method: str,
    size: str | None,
    *,
    mask: Path | None,
    tileable: bool,
    sheet: int,
    compare: str | None,
    save: Path | None,
    sources: Path | None,
    changes: Sequence[str],
    seed: int,
    device: str,
) -> None:
    """Learn from the exemplar, or take what was learnt, and write a picture, a sheet of them or a strip of methods.

    Raises: ConfigError: wishes that go against each other.
    """
    wanted = None if size is None else textures.size_of(size)
    if compare is not None and (save is not None or sheet > 1 or changes):
        raise ConfigError("--compare shows methods as they are: leave --save, --sheet and --set out")
    if sources is not None and (compare is not None or sheet > 1):
        raise ConfigError("--sources explains one picture: leave --compare and --sheet out")
    names = [name.strip() for name in (compare or method).split(",") if name.strip()]
    ready = exemplar.is_dir() and (exemplar / "config.json").is_file()
    if ready and (save is not None or mask is not None or changes or compare is not None):
        raise ConfigError(f"{exemplar} has what was learnt: --save, --mask, --set and --compare go with a picture")
    chosen = [] if ready else [textures.method_of(name, changes) for name in names]
    if not ready and exemplar.is_file():
        for line in opened_file(exemplar).peculiar:
            display.say(f"{exemplar.name} {line}", warning=True)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sfumato-")))
        if ready:
            family = textures.learnt_before(exemplar, device)
            _write(family, wanted, out, seed, tileable, sheet, sources)
            return
        if compare is None:
            family = _learn(exemplar, chosen[0], save or place / "run", mask, seed, device)
            _write(family, wanted, out, seed, tileable, sheet, sources)
            return
        strip: list[UInt8[Tensor, "C H W"]] = []
        for name, one in zip(names, chosen, strict=True):
            family = _learn(exemplar, one, place / name, mask, seed, device)
            strip = strip or [to_uint8(family.exemplars[:1])[0]]
            with display.working(f"{name}: making it") as watch:
                told = _percent(watch)
                strip.append(textures.made(family, wanted or family.spec.size, seed, 0, tileable, told))
        write_picture(textures.sheet(strip, len(strip)), out)
        display.say(f"{out}: the exemplar, {', '.join(names)}")


def _learn(exemplar: Path, method: Strict, folder: Path, mask: Path | None, seed: int, device: str) -> Texture:
    start, name = time.monotonic(), str(method.kind)  # type: ignore[attr-defined]
    with display.training_bar(name, 1) as watch:
        family = textures.learn(exemplar, method, folder, mask=mask, seed=seed, device=device, watch=watch)
    if (spent := time.monotonic() - start) > 1:
        display.say(f"{name}: learnt in {spent:.0f} s")
    return family


def _percent(bar: Callable[[int, int], None]) -> Callable[[float], None]:
    return lambda done: bar(round(100 * done), 100)


def _write(
    family: Texture,
    size: tuple[int, int] | None,
    out: Path,
    seed: int,
    tileable: bool,
    sheet: int,
    sources: Path | None,
) -> None:
    rows, columns = size or family.spec.size
    start = time.monotonic()
    with display.working(f"making {columns} x {rows}") as bar:
        watch = _percent(bar)
        if sheet > 1:
            pictures = [
                textures.made(family, (rows, columns), seed, i, tileable, lambda done, i=i: watch((i + done) / sheet))
                for i in range(sheet)
            ]
            write_picture(textures.sheet(pictures), out)
        elif isinstance(family, Plane) and rows * columns >= LARGE and out.suffix.lower() == ".png":
            textures.write(family, (rows, columns), out, seed, tileable, watch)
        else:
            write_picture(textures.made(family, (rows, columns), seed, 0, tileable, watch), out)
    display.say(f"{out}: made in {time.monotonic() - start:.1f} s")
    if sources is not None:
        shown, share = textures.sources(family, read_picture(out, family.spec.channels))
        write_picture(shown, sources)
        display.say(f"{sources}: where each part comes from; {share:.0%} of it stands in the exemplar as it is")
