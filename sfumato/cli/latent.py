"""Commands on latent vectors: `sfumato latent ...`, for every model that decodes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sfumato.cli.options import Device, RunFolder

app = typer.Typer(help="Look at a model through its latent vectors.", no_args_is_help=True, rich_markup_mode=None)
Picture = Annotated[Path, typer.Option("--out", "-o", help="The picture to write.")]
Film = Annotated[Path, typer.Option("--out", "-o", help="The film to write: .gif, .webp or .apng.")]
Seed = Annotated[int, typer.Option(help="Another seed draws others.")]
Drawn = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting that images are drawn by, as truncation=0.7; may be repeated."),
]
Label = Annotated[int | None, typer.Option("--class", min=0, help="The class, for a model that hears classes.")]


@app.command()
def interpolate(
    run: RunFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture, or film (.gif, .webp, .apng).")] = Path(
        "interpolation.png"
    ),
    rows: Annotated[int, typer.Option(min=1, max=64, help="Pairs of images.")] = 6,
    steps: Annotated[int, typer.Option(min=2, max=64, help="Images from one to the other.")] = 9,
    seed: Seed = 0,
    label: Label = None,
    changes: Drawn = None,
    device: Device = "auto",
) -> None:
    """Draw rows of images whose codes lie between those of two.

    Example: sfumato latent interpolate runs/digits --out interpolation.png
    """
    from sfumato.latents.pictures import interpolation

    interpolation(run, out, rows, steps, seed, device, label, changes=changes or ())


@app.command()
def arithmetic(
    run: RunFolder,
    a: Annotated[str, typer.Argument(help="Numbers of draws as `sfumato sample` counts them, from 0: 3,7,9 or 4-8.")],
    b: Annotated[str, typer.Argument(help="Whose mean code is taken away.")],
    c: Annotated[str, typer.Argument(help="Whose mean code is added.")],
    out: Picture = Path("arithmetic.png"),
    nearby: Annotated[
        float, typer.Option(min=0.0, help="How far the other results lie from a - b + c, in deviations of codes.")
    ] = 0.25,
    seed: Seed = 0,
    label: Label = None,
    changes: Drawn = None,
    device: Device = "auto",
) -> None:
    """Add and subtract mean codes: a - b + c, and eight codes beside it.

    Example: sfumato latent arithmetic runs/digits 0,4,9 1,2,7 3,5,8 --out arithmetic.png
    """
    from sfumato.latents.pictures import arithmetic, numbers

    arithmetic(run, out, [numbers(a), numbers(b), numbers(c)], nearby, seed, device, label, changes=changes or ())


@app.command()
def mix(
    run: RunFolder,
    rows: Annotated[str, typer.Option(help="Numbers of draws that the rows are.")] = "0-3",
    columns: Annotated[str, typer.Option(help="Numbers of draws that give them a part.")] = "4-9",
    part: Annotated[str, typer.Option(help="Which: coarse, middle, fine, several with commas, or all.")] = "all",
    out: Picture = Path("mixing.png"),
    seed: Seed = 0,
    label: Label = None,
    changes: Drawn = None,
    device: Device = "auto",
) -> None:
    """Give draws a part of the codes of others: layers of styles, or numbers of a latent vector.

    Example: sfumato latent mix runs/stylegan2 --part coarse --out mixing.png
    """
    from sfumato.latents.pictures import mixing, numbers, parts_of

    mixing(run, out, numbers(rows), numbers(columns), parts_of(part), seed, device, label, changes=changes or ())


@app.command()
def walk(
    run: RunFolder,
    out: Film = Path("walk.gif"),
    images: Annotated[int, typer.Option("-n", min=1, max=64, help="Images that walk side by side.")] = 9,
    stops: Annotated[int, typer.Option(min=2, max=32, help="Draws on the way.")] = 4,
    steps: Annotated[int, typer.Option(min=1, max=120, help="Frames from one to the next.")] = 20,
    seed: Seed = 0,
    label: Label = None,
    changes: Drawn = None,
    device: Device = "auto",
) -> None:
    """Film images that go from draw to draw and back to the first.

    Example: sfumato latent walk runs/digits --out walk.gif
    """
    from sfumato.latents.films import walk

    walk(run, out, images, stops, steps, seed, device, label, changes=changes or ())


@app.command()
def project(
    run: RunFolder,
    pictures: Annotated[
        list[Path] | None, typer.Argument(help="Pictures; their middle is made as small as needed.")
    ] = None,
    test: Annotated[int, typer.Option(min=0, max=64, help="As many test images of the run.")] = 0,
    out: Picture = Path("projection.png"),
    steps: Annotated[int, typer.Option(min=1, help="Steps of the search.")] = 300,
    each: Annotated[
        bool,
        typer.Option("--each-layer", help="Search a style for every layer: nearer, and less what the model knows."),
    ] = False,
    keep: Annotated[Path | None, typer.Option(help="A .safetensors file for the codes.")] = None,
    label: Label = None,
    changes: Drawn = None,
    device: Device = "auto",
) -> None:
    """Search the codes whose images are nearest to given ones, and say how near they are.

    Example: sfumato latent project runs/stylegan2 --test 6 --out projection.png
    """
    from sfumato.latents.projection import projection

    projection(run, pictures or [], test, out, steps, keep, device, label, each, changes=changes or ())


@app.command()
def reconstruct(
    run: RunFolder,
    out: Picture = Path("reconstructions.png"),
    n: Annotated[int, typer.Option("-n", min=1, max=512, help="How many test images.")] = 32,
    device: Device = "auto",
) -> None:
    """Set test images beside what the model makes of their latent vectors.

    Example: sfumato latent reconstruct runs/digits --out reconstructions.png
    """
    from sfumato.latents.pictures import reconstructions

    reconstructions(run, out, n, device)
