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
from sfumato.data.mask_files import mask_levels
from sfumato.errors import ConfigError, Interrupted
from sfumato.families.texture import Plane, Texture
from sfumato.images import check_target, opened_file, read_picture, to_uint8, write_picture

LARGE = 4_000_000  # pixels from which a PNG file is written as it is made


def texture(
    exemplar: Path,
    out: Path,
    method: str | None,
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

    Raises: ConfigError: wishes that go against each other, or that the method cannot meet; nothing is learnt then.
    """
    wanted = None if size is None else textures.size_of(size)
    ready = exemplar.is_dir() and (exemplar / "config.json").is_file()
    _agree(exemplar, out, method, mask, sheet, compare, save, sources, changes, ready)
    if ready:
        family = textures.learnt_before(exemplar, device)
        _check(family, wanted, tileable, sources)
        _write(family, wanted, out, seed, tileable, sheet, sources)
        return
    asked = "texto" if compare is None and method is None else compare or method or ""
    names = [name.strip() for name in asked.split(",") if name.strip()]
    if not names or (compare is None and len(names) > 1):
        raise ConfigError("--method names one method, as texto; --compare shows several, as texto,quilting")
    chosen = [textures.method_of(name, changes) for name in names]
    _tell(exemplar, mask)
    for one in chosen:
        _check(textures.untaught(exemplar, one, mask), wanted, tileable, sources)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sfumato-")))
        if compare is None:
            family = _learn(exemplar, chosen[0], save, place / "run", mask, seed, device)
            _write(family, wanted, out, seed, tileable, sheet, sources)
            return
        strip: list[UInt8[Tensor, "C H W"]] = []
        for name, one in zip(names, chosen, strict=True):
            family = _learn(exemplar, one, None, place / f"{len(strip)}", mask, seed, device)
            strip = strip or [to_uint8(family.exemplars[:1])[0]]
            with display.working(f"{name}: making it") as bar:
                strip.append(textures.made(family, wanted or family.spec.size, seed, 0, tileable, _percent(bar)))
        write_picture(textures.sheet(strip, len(strip)), out)
        display.say(f"{out}: the exemplar, {', '.join(names)}")


def _agree(
    exemplar: Path,
    out: Path,
    method: str | None,
    mask: Path | None,
    sheet: int,
    compare: str | None,
    save: Path | None,
    sources: Path | None,
    changes: Sequence[str],
    ready: bool,
) -> None:
    """Raises: ConfigError: wishes that go against each other. DataError: a file that cannot be written."""
    if compare is not None and (save is not None or sheet > 1 or changes or method is not None):
        raise ConfigError("--compare shows methods as they are: leave --method, --save, --sheet and --set out")
    if sources is not None and (compare is not None or sheet > 1):
        raise ConfigError("--sources explains one picture: leave --compare and --sheet out")
    if ready and (save is not None or mask is not None or changes or compare is not None or method is not None):
        raise ConfigError(
            f"{exemplar} has what was learnt: --method, --save, --mask, --set and --compare go with a picture"
        )
    targets = [path for path in (out, sources) if path is not None]
    for path in targets:
        check_target(path)
        if path.exists() and exemplar.exists() and path.samefile(exemplar):
            raise ConfigError(f"{path} is the exemplar; give another --out")
    if len(targets) == 2 and targets[0].absolute() == targets[1].absolute():
        raise ConfigError(f"--out and --sources are both {out}; give them two names")


def _tell(exemplar: Path, mask: Path | None) -> None:
    """Warn of what may surprise in the files."""
    for path in (exemplar, mask):
        if path is None or not path.is_file():
            continue
        file = opened_file(path)
        lines = [f"{path.name} {line}" for line in file.peculiar]
        if file.image.mode.startswith("I"):  # of grey; `restore` keeps its depth, a texture has eight
            lines.append(f"{path.name} has 16 bits a colour, of which 8 are read")
        if path is mask:
            lines += mask_levels(file.image, str(path))[1]
        for line in lines:
            display.say(line, warning=True)


def _check(family: Texture, size: tuple[int, int] | None, tileable: bool, sources: Path | None) -> None:
    """Raises: CapabilityError, ConfigError: what is wished for cannot be made, or not be compared."""
    textures.check_wish(family, size or family.spec.size, tileable)
    if sources is not None:
        textures.check_sources(family, size or family.spec.size)


def _learn(
    exemplar: Path, method: Strict, save: Path | None, place: Path, mask: Path | None, seed: int, device: str
) -> Texture:
    start, name = time.monotonic(), str(method.kind)  # type: ignore[attr-defined]
    try:
        with display.training_bar(name, 1) as watch:
            family = textures.learn(exemplar, method, save or place, mask=mask, seed=seed, device=device, watch=watch)
    except Interrupted as error:
        if save is None:
            raise Interrupted("stopped, and nothing was kept; with --save FOLDER it would go on from there") from None
        raise error
    except ConfigError as error:  # of the run's folder, which other commands call their --out
        raise ConfigError(str(error).replace("--out", "--save")) from None
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
