"""Commands that measure: evaluate, explain, stats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sfumato.cli.options import Device, RunFolder, Set


def evaluate(
    made: Annotated[str, typer.Argument(help="A folder, zip, npz, run, or a source's part (digits:test).")],
    real: Annotated[
        str | None, typer.Argument(help="The same, or statistics; left out, a run's own test images.")
    ] = None,
    metrics: Annotated[
        str, typer.Option(help="Names, by commas: fid,kid,prdc,is,ssim ... (`sfumato kinds metric`).")
    ] = "",
    features: Annotated[str, typer.Option(help="inception (FID), lite0 (offline), dinov2, vgg ...")] = "inception",
    n: Annotated[int | None, typer.Option("-n", "--n", min=1, help="Use so many made images.")] = None,
    n_real: Annotated[int | None, typer.Option("--n-real", "--test", help="Use so many real, or test, images.")] = None,
    train: Annotated[str | None, typer.Option(help="The training images, to see what is memorised.")] = None,
    masks: Annotated[str | None, typer.Option(help="Masks, white where pictures were made.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Bring all images to this size first.")] = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Accept images of several sizes as they are.")] = False,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out files that cannot be read.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the scores and the page: runs/evaluation, or RUN/evaluation."),
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the scores with their cards here too.")] = None,
    device: Device = "auto",
    settings: Set = None,
) -> None:
    """Measure images against others, each figure with its 95 % interval and a card that says how it was made.

    Example: sfumato evaluate samples/ photos:test --metrics fid,kid,prdc --out runs/evaluation
    """
    from sfumato import commands

    given: dict[str, Any] = {
        "--features": features != "inception",
        "--n": n,
        "--train": train,
        "--masks": masks,
        "--size": size,
    }
    given |= {"--mixed": mixed, "--skip-broken": skip_broken, "--set": settings}
    if real is None:
        unused = [name for name, value in given.items() if value]
        if unused:
            raise typer.BadParameter(f"{unused[0]} needs REAL, as in `sfumato evaluate {made} {made}:test`")
        commands.evaluate_run(Path(made), metrics, n_real, out, json_out, device)
        return
    request: dict[str, Any] = {"made": made, "real": real, "features": features, "n": n, "n_real": n_real}
    request |= {"train": train, "masks": masks, "size": size, "mixed": mixed}
    request |= {"on_broken": "skip" if skip_broken else "refuse"} | ({"metrics": metrics} if metrics else {})
    commands.evaluate_sets(request, settings or [], out or Path("runs/evaluation"), json_out, device)


def explain(
    first: Annotated[Path, typer.Argument(help="evaluation.json, or the folder it lies in.")],
    second: Annotated[Path, typer.Argument(help="The other one.")],
    recompute: Annotated[
        bool, typer.Option(help="Compute what each difference is worth, if the images are there.")
    ] = True,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the explanation here too.")] = None,
    device: Device = "auto",
) -> None:
    """Say why two figures differ: which entries of their cards, and how many points each is worth.

    Example: sfumato explain runs/mine runs/theirs
    """
    from sfumato import commands

    commands.explain(first, second, recompute, json_out, device)


def stats(
    images: Annotated[str, typer.Argument(help="A folder, zip, npz, run, or a source's part (cifar10:train).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="statistics.safetensors, or .npz for pytorch-fid.")],
    features: Annotated[str, typer.Option(help="inception (FID), lite0 (offline), dinov2, vgg ...")] = "inception",
    n: Annotated[int | None, typer.Option("-n", "--n", min=1, help="Use so many of the images.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Bring all images to this size first.")] = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Accept images of several sizes as they are.")] = False,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out files that cannot be read.")] = False,
    device: Device = "auto",
    settings: Set = None,
) -> None:
    """Make reference statistics once, to measure against without the images.

    Example: sfumato stats photos/train --out photos-train.safetensors
    """
    from sfumato import commands

    request: dict[str, Any] = {
        "made": images,
        "real": images,
        "features": features,
        "n": n,
        "size": size,
        "mixed": mixed,
    }
    request |= {"on_broken": "skip" if skip_broken else "refuse"}
    commands.statistics(request, settings or [], out, device)


def anomaly(
    run: RunFolder,
    images: Annotated[str, typer.Argument(help="A folder, zip, npz, or a source's part (digits:test) to rate.")],
    by: Annotated[
        str, typer.Option(help="likelihood, reconstruction, search or rating; left out, the first that the model has.")
    ] = "",
    odd: Annotated[
        str | None,
        typer.Option(help="Images known to be odd; IMAGES are then the usual ones, and AUROC says how well."),
    ] = None,
    n: Annotated[int | None, typer.Option("-n", "--n", min=1, help="Use so many images.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the scores here.")] = None,
    device: Device = "auto",
) -> None:
    """Rate how odd images are to a model that was trained on usual ones: the higher, the odder.

    Example: sfumato anomaly runs/digits digits:test --by reconstruction
    """
    from sfumato.anomaly import anomaly as rate

    rate(run, images, by, odd, n, json_out, device)


def exact(
    data: Annotated[
        str, typer.Argument(help="A source, as for `train --data`: the images that the law is like.")
    ] = "digits",
    schedule: Annotated[str, typer.Option(help="How noise rises: cosine, linear, rectified, edm, vp ...")] = "cosine",
    sampler: Annotated[str, typer.Option(help="Names, by commas; all when left out (`sfumato kinds sampler`).")] = "",
    steps: Annotated[str, typer.Option(help="Numbers of steps, by commas.")] = "5,10,25,50,100",
    spacing: Annotated[
        str, typer.Option(help="Where steps lie: even, quadratic, karras; each sampler's own when left out.")
    ] = "",
    clamped: Annotated[
        bool,
        typer.Option(
            "--clamped", help="Also with clean images clamped to [-1, 1], by draws: such a walk is not linear."
        ),
    ] = False,
    classes: Annotated[
        bool, typer.Option("--classes", help="A Gaussian for each class, as of `toy`: a mixture, compared by draws.")
    ] = False,
    task: Annotated[
        list[str] | None,
        typer.Option(help="Judge zero-shot restorers on it instead: inpainting, deblurring ...; may be repeated."),
    ] = None,
    restorer: Annotated[
        str, typer.Option(help="With --task: names, by commas; all zero-shot ones when left out.")
    ] = "",
    noise: Annotated[str, typer.Option(help="With --task: deviations of the noise in y, by commas.")] = "0,0.05",
    calls: Annotated[str, typer.Option(help="With --task: how often the denoiser may be asked, by commas.")] = "25,100",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the figures and the page.")] = Path("runs/exact"),
    settings: Set = None,
) -> None:
    """Judge samplers where the answer is known: the exact denoiser of normal images, and how far each walk ends from them.

    With --task, restorers: how far what they draw for a measurement is from the posterior.

    Example: sfumato exact photos --set data.size=16 --steps 10,25 --sampler ddim,heun
    """
    from sfumato.exact import exact as judge
    from sfumato.training.run import read_run

    run = read_run(None, "gaussian", data, ["generation"], None, 0, settings or [], None)
    if task:
        from sfumato.posteriors import posteriors

        posteriors(run.data, task, noise, restorer, calls, schedule, clamped, out)
        return
    judge(run.data, schedule, sampler, steps, spacing, clamped, out, classes)
