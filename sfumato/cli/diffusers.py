"""Commands about the folders of the package diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Folders of diffusers as runs, and back.", no_args_is_help=True, rich_markup_mode=None)


@app.command("import")
def read(
    folder: Annotated[Path, typer.Argument(help="A folder with a UNet2DModel and its scheduler, in either layout.")],
    data: Annotated[
        str, typer.Option(help="What it was trained on, to measure it against: cifar10, or a folder of pictures.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the run.")],
) -> None:
    """Make a run of a folder that diffusers saved: it samples, restores and is measured as one that was trained here.

    Example: sfumato diffusers import ddpm-cifar10-32 --data cifar10 --out runs/google
    """
    from sfumato import display, pipelines
    from sfumato.data.base import source_of

    run = pipelines.read(folder, source_of(data), out)
    display.console.print((out / "card.md").read_text(), markup=False, soft_wrap=True)
    display.say(f"the model is in {out}; sfumato sample {out} draws by {run.config.family.sampler.kind}")


@app.command("export")
def write(
    run: Annotated[Path, typer.Argument(help="A run whose network is diffusers' own (family.network = unet_2d).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make.")],
) -> None:
    """Write a run as a folder that diffusers loads: DDPMPipeline.from_pretrained(OUT).

    Example: sfumato diffusers export runs/ddpm --out ddpm-digits
    """
    from sfumato import display, pipelines
    from sfumato.training.run import load

    pipelines.write(load(run), out)
    display.say(f"wrote {out}; DiffusionPipeline.from_pretrained({str(out)!r}) of diffusers loads it")
