"""Commands on latent vectors: `sfumato latent interpolate | reconstruct`, for every model that decodes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sfumato.cli.options import Device, RunFolder

app = typer.Typer(help="Look at a model through its latent vectors.", no_args_is_help=True, rich_markup_mode=None)
Picture = Annotated[Path, typer.Option("--out", "-o", help="The picture to write.")]


@app.command()
def interpolate(
    run: RunFolder,
    out: Picture = Path("interpolation.png"),
    rows: Annotated[int, typer.Option(min=1, max=64, help="Pairs of images.")] = 6,
    steps: Annotated[int, typer.Option(min=2, max=64, help="Images from one to the other.")] = 9,
    seed: Annotated[int, typer.Option(help="Another seed draws other pairs.")] = 0,
    device: Device = "auto",
) -> None:
    """Draw rows of images whose latent vectors lie between those of two.

    Example: sfumato latent interpolate runs/digits --out interpolation.png
    """
    from sfumato.latents import interpolation

    interpolation(run, out, rows, steps, seed, device)


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
    from sfumato.latents import reconstructions

    reconstructions(run, out, n, device)
