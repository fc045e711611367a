"""Commands that make and use models: train, sample, restore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sfumato.cli.options import Device, Out, RunFolder, Set


def train(
    family: Annotated[str | None, typer.Argument(help="wgan, ddpm ... (see `sfumato kinds family`).")] = None,
    data: Annotated[
        str, typer.Option(help="A folder of pictures, an .npz file, or a source (see `sfumato kinds source`).")
    ] = "digits",
    task: Annotated[
        list[str] | None,
        typer.Option(help="generation, inpainting, denoising ... (see `sfumato kinds task`); may be repeated."),
    ] = None,
    out: Out = Path("runs/model"),
    config: Annotated[
        Path | None, typer.Option(help="A .toml or .json file with all settings, instead of the names.")
    ] = None,
    images: Annotated[int | None, typer.Option(help="Budget: real images consumed.")] = None,
    seed: Annotated[int, typer.Option(help="Start of every stream of random numbers.")] = 0,
    start: Annotated[
        Path | None, typer.Option(help="A finished run to go on from: fine-tuning, with its family if none is named.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what time and memory it would take, and write nothing.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard logs into OUT/.tensorboard.")
    ] = False,
    device: Device = "auto",
    settings: Set = None,
) -> None:
    """Train one model; give the same command again to go on after an interruption.

    Example: sfumato train ddpm --data digits --task inpainting --images 50000 --out runs/filler
    """
    from sfumato import display
    from sfumato.data.base import Source
    from sfumato.kinds import build, discover
    from sfumato.training import logs, processes
    from sfumato.training.plan import promise
    from sfumato.training.run import is_finished, read_run
    from sfumato.training.run import train as train_run

    if data in discover(Source) and Path(data).is_dir():
        display.say(f"--data {data} is the source of this name; for the folder write ./{data}", warning=True)
    run = read_run(config, family, data, task or ["generation"], images, seed, settings or [], start)
    processes.join(device)
    if dry_run:
        from sfumato.training.plan import plan

        display.say(plan(run, device=device))
        return
    images_of = None if is_finished(out) else build(run.data).load()
    if processes.rank() == 0 and images_of is not None:
        display.say(promise(run, images_of), log=True)
    with display.training_bar(str(run.family.kind), run.budget.images) as watch:
        watch = logs.tensorboard(out / ".tensorboard", watch) if tensorboard else watch
        trained = train_run(run, out, device=device, data=images_of, watch=watch)
    if processes.rank() == 0:
        display.console.print((out / "card.md").read_text(), soft_wrap=True)
        display.console.print(
            f"{trained.ledger.images:,} images in {trained.ledger.seconds:.0f} s; the model is in {out}"
        )
    processes.leave()


def sample(
    run: RunFolder,
    n: Annotated[int, typer.Option("-n", min=1, max=10_000_000, help="How many images.")] = 16,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A picture of all (.png ...), an .npz file, or a folder of pictures.")
    ] = Path("samples.png"),
    seed: Annotated[int, typer.Option(help="Another seed draws other images.")] = 0,
    label: Annotated[
        int | None, typer.Option("--class", help="The class to draw, of a model that hears labels.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Draw by another setting of the family, as in --set temperature=0.7 or sampler.steps=20."
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Draw images from a model trained on generation; image i depends on the seed and i alone, however many are drawn."""
    from sfumato import commands

    commands.sample(run, n, out, seed, label, device, changes or [])


def restore(
    picture: Annotated[Path, typer.Argument(help="The picture to restore, or a folder of pictures.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="The folder of a run, a packaged model (`sfumato models list`), or telea, biharmonic, bicubic ...; left out, "
            "a packaged model that can."
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="A picture of the same size, WHITE where the picture is to be MADE, black where it is kept; for a folder, "
            "one for all or a folder of masks with the same names."
        ),
    ] = None,
    scale: Annotated[int | None, typer.Option(help="Enlarge so many times instead of filling a mask.")] = None,
    border: Annotated[
        str | None, typer.Option(help="Make so many pixels around the picture; or ABOVE,RIGHT,BELOW,LEFT.")
    ] = None,
    invert: Annotated[bool, typer.Option("--invert", help="The mask is white where the picture is kept.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Where to write; its ending names the format. Left out: restored.* as the input."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another plausible answer.")] = 0,
    restorer: Annotated[
        str | None,
        typer.Option("--restorer", "--method", help="How a run trained on generation restores: ddnm, diffpir ..."),
    ] = None,
    calls: Annotated[
        int | None, typer.Option(min=1, help="With ddnm, diffpir ...: how often the network may be asked.")
    ] = None,
    draws: Annotated[
        int, typer.Option(min=1, max=1000, help="How many answers; each is written to a file of its own.")
    ] = 1,
    device: Device = "auto",
) -> None:
    """Fill the white part of a mask, continue or enlarge a picture, or do what a model was trained for, as to denoise.

    Example: sfumato restore photo.jpg --mask mask.png --out restored.jpg
    """
    from sfumato import commands

    commands.restore(
        picture,
        out,
        model,
        mask=mask,
        scale=scale,
        border=border,
        invert=invert,
        seed=seed,
        restorer=restorer,
        device=device,
        calls=calls,
        draws=draws,
    )


def web(
    model: Annotated[
        list[Path] | None,
        typer.Option(help="The folder of a run to offer beside the packaged models; may be repeated."),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the page is, on this machine alone.")] = 7860,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in the browser.")] = True,
    device: Device = "auto",
) -> None:
    """Open a page on which pictures are filled, cleaned, continued and enlarged; only this machine can reach it.

    Example: sfumato web --model runs/filler
    """
    from sfumato import display
    from sfumato.training.run import skeleton
    from sfumato.web.page import serve

    for folder in model or []:
        skeleton(folder)  # says now what is wrong with it
    display.say(f"http://127.0.0.1:{port} (Ctrl-C ends it)")
    serve(model or [], port, device, browser)


def remove(
    picture: Annotated[Path, typer.Argument(help="A photograph, or a folder of them.")],
    what: Annotated[str, typer.Option(help="people (see `sfumato kinds segmenter`).")] = "people",
    mask: Annotated[
        Path | None,
        typer.Option(help="A picture of the same size, white on what is to be removed, in place of --what."),
    ] = None,
    box: Annotated[
        str | None, typer.Option(help="LEFT,TOP,WIDTH,HEIGHT around what is to be removed, in place of --what.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="What fills: the folder of a run, a packaged model, or telea, biharmonic ...; left out, the packaged one."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="For people, once: the wheel mediapipe 0.10.21, which is read and not installed."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write. Left out: removed.* as the input.")
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Write before, found, and after side by side, too.")
    ] = False,
    invert: Annotated[bool, typer.Option("--invert", help="The mask is white where the picture is kept.")] = False,
    dilate: Annotated[
        int | None, typer.Option(min=0, help="Pixels around it that are made too; 1 % of the side.")
    ] = None,
    feather: Annotated[
        int | None, typer.Option(min=0, help="Pixels over which the fill fades in; half of these.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another plausible answer.")] = 0,
    device: Device = "auto",
) -> None:
    """Take people, or what a mask or a box shows, out of photographs. Exit code 3: there was nobody.

    Example: sfumato remove photo.jpg --what people --out without.png --preview
    """
    from sfumato import commands

    found = commands.remove(
        picture, out, what, mask=mask, box=box, model=model, weights=weights, preview=preview, invert=invert,
        dilate=dilate, feather=feather, seed=seed, device=device,
    )  # fmt: skip
    if not found:
        raise typer.Exit(3)
