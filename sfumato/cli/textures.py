"""The command `sfumato texture`: pictures of any size that look like one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sfumato.cli.options import Device


def texture(
    exemplar: Annotated[
        Path, typer.Argument(help="The picture to learn from, a folder of them, or what an earlier --save wrote.")
    ],
    method: Annotated[
        str | None,
        typer.Option(
            help="texto (if left out), gaussian_field, quilting, gpnn, psgan ...; `sfumato kinds family` tells."
        ),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT in pixels, as 1280x768; the exemplar's if left out.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write.")] = Path("texture.png"),
    mask: Annotated[
        Path | None, typer.Option(help="A picture as large as the exemplar, white where the texture is.")
    ] = None,
    tileable: Annotated[bool, typer.Option("--tileable", help="Make it meet itself at its borders.")] = False,
    sheet: Annotated[int, typer.Option(min=1, max=100, help="Write so many variations side by side.")] = 1,
    compare: Annotated[
        str | None, typer.Option(help="Methods, as texto,quilting,gpnn: the exemplar and one picture of each in a row.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Keep what was learnt in this folder, to make more from it.")
    ] = None,
    sources: Annotated[
        Path | None, typer.Option(help="Write a map of where each part lies in the exemplar, and say what was copied.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the method, as in --set layers=2; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed makes another picture.")] = 0,
    device: Device = "auto",
) -> None:
    """Learn a texture from one picture, and make a picture of any size that looks like it.

    Example: sfumato texture stone.png --method texto --size 1280x768 --out wall.png
    """
    from sfumato import texture_commands

    texture_commands.texture(
        exemplar, out, method, size, mask=mask, tileable=tileable, sheet=sheet, compare=compare, save=save, sources=sources,
        changes=settings or [], seed=seed, device=device,
    )  # fmt: skip
