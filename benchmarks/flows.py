"""Flows: a training step beside normflows', and bits per dimension against images.

python -m benchmarks.flows steps               Glow's and RealNVP's layers at equal parameters, step after step in turns
python -m benchmarks.flows mnist MNIST.npz     bits per dimension of MNIST at 28 x 28, up to 200,000 images
python -m benchmarks.flows sheets runs/flows   pictures of each flow of studies/flows.toml at several temperatures
"""

from __future__ import annotations

import csv
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import normflows
import torch
from normflows.flows.affine.glow import GlowBlock
from torch import Tensor, nn

from sfumato.data.npz import Npz
from sfumato.families.base import Family
from sfumato.families.simple_laws import Normal
from sfumato.images import grid, write_picture
from sfumato.kinds import build, parse
from sfumato.metrics.bits_per_dimension import BitsPerDimension
from sfumato.networks.condition import NOTHING
from sfumato.networks.couplings import Conditioner, Halves, plain
from sfumato.networks.invertible import ActNorm, Diagonals, Mixing, Squeeze
from sfumato.networks.multi_scale import Level, MultiScale
from sfumato.networks.transformations import Affine
from sfumato.tasks.generation import Generation
from sfumato.training import moments
from sfumato.training.budget import Budget
from sfumato.training.run import RunConfig, load, train
from sfumato.training.sampling import sample_pixels

STEPS, WIDTH, BATCH, TURNS = 8, 64, 64, 15
PUBLIC = 1.078  # phlippe/uvadlc_notebooks, tutorial 11: 8 chessboard couplings, 556,312 parameters, 200 epochs
MNIST = {"realnvp": 200_000, "glow": 200_000, "flow_pp": 50_000}  # images; one of Flow++ takes 20 ms, six times Glow's
MOMENTS = 7  # looks before the end, so that bits are known at every eighth of it
DOCS = Path(__file__).parents[1] / "docs"


def ours(split: str) -> nn.Module:
    """So many steps on images of 3 x 16 x 16, squeezed once; of chessboards without a convolution between."""

    def network(inputs: int, outputs: int) -> nn.Module:
        return Conditioner(inputs, outputs, WIDTH, plain)

    layers: list[Any] = [Squeeze()] if split == "channel" else [Squeeze(), Diagonals(12)]
    for i in range(STEPS):
        layers += [ActNorm(12), *([Mixing(12)] if split == "channel" else [])]
        layers.append(Halves(12, Affine(Affine.Config()), network, bool(i % 2)))
    return MultiScale((3, 16, 16), [Level(layers)]).to(memory_format=torch.channels_last)


def theirs(split: str) -> nn.Module:
    """The same of normflows, whose layers run from z to x."""
    channels = 12 if split == "channel" else 3
    modes = ("channel", "channel_inv") if split == "channel" else ("checkerboard", "checkerboard_inv")
    hidden = WIDTH if split == "channel" else 86  # as many weights as ours
    blocks = [GlowBlock(channels, hidden, scale_map="exp", split_mode=modes[i % 2]) for i in range(STEPS)]
    shape = (12, 8, 8) if split == "channel" else (3, 16, 16)
    flows = [*blocks, *([normflows.flows.reshape.Squeeze()] if split == "channel" else [])]
    return normflows.NormalizingFlow(normflows.distributions.DiagGaussian(shape, trainable=False), flows)


def step(model: nn.Module, nats: Callable[[Tensor], Tensor]) -> Callable[[], float]:
    """Seconds of one step on new images."""
    optimizer = torch.optim.Adamax(model.parameters(), 1e-3)

    def run() -> float:
        x = torch.rand(BATCH, 3, 16, 16).contiguous(memory_format=torch.channels_last)
        start = time.perf_counter()
        optimizer.zero_grad()
        nats(x).backward()
        optimizer.step()
        return time.perf_counter() - start

    return run


def steps() -> None:
    """A line for each way to split: parameters, seconds of both, the middle one of so many, and their ratio."""
    base = Normal(Normal.Config())
    for split in ("channel", "checkerboard"):
        mine, other = ours(split), theirs(split)

        def nats(x: Tensor, mine: nn.Module = mine) -> Tensor:
            z, log_det = mine(x, NOTHING)
            return -(base.log_prob(z) + log_det).mean() / x[0].numel()

        runs = step(mine, nats), step(other, lambda x, other=other: other.forward_kld(x) / x[0].numel())  # type: ignore
        for run in runs:
            run()
        seconds = [[run() for run in runs] for _ in range(TURNS)]
        a, b = (statistics.median(column) for column in zip(*seconds, strict=True))
        counts = [sum(p.numel() for p in model.parameters()) for model in (mine, other)]
        for name, count, seconds_ in (("ours", counts[0], a), ("normflows", counts[1], b)):
            print(f"{split}: {name} {count:,} parameters, {seconds_ * 1000:.0f} ms a step")
        print(f"{split}: {b / a:.2f} x")


def mnist(path: str) -> None:
    """Three flows, each trained once, which goes on where it was stopped; bits of 2,000 test images at eight moments."""
    rows = []
    for kind, images in MNIST.items():
        config = RunConfig(
            data=Npz.Config(path=Path(path)),
            tasks=[Generation.Config()],
            family=parse(Family, kind),
            budget=Budget(images=images, batch=64, moments=MOMENTS),
        )
        folder = Path("runs/flows-mnist") / kind
        run, test = train(config, folder), build(config.data).load().test.first(2_000)
        for moment in (*sorted(moments.kept(folder)), None):
            family: Any = load(folder, moment=moment).family
            (score,) = BitsPerDimension(BitsPerDimension.Config()).measure_model(family, test, seed=0, batch=100)
            count = sum(p.numel() for p in family.transform.parameters())
            rows.append({"flow": kind, "parameters": count, "images": moment or run.ledger.images, "bits": score.value})
            print(rows[-1], flush=True)
    with (DOCS / "results" / "flows-mnist.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    curve(rows)


def curve(rows: list[dict[str, Any]]) -> None:
    """Bits against images, and what the public notebook has after its 200 epochs."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for kind in MNIST:
        mine = [row for row in rows if row["flow"] == kind]
        axes.plot(*([row[key] for row in mine] for key in ("images", "bits")), "o-", ms=4, label=kind)
    axes.axhline(PUBLIC, color="0.5", ls="--", lw=1, label=f"public notebook, 11 million images: {PUBLIC}")
    axes.set(xlabel="images of MNIST", ylabel="bits per dimension", xscale="log")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(DOCS / "images" / "flows-mnist.svg")


def sheets(folder: str) -> None:
    """Two rows a flow for each temperature, the same latent numbers in each: 0.6, 0.8, 1."""
    rows = []
    for kind in ("nice", "realnvp", "glow", "flow_pp", "tarflow"):
        (place,) = (Path(folder) / "runs").glob(f"{kind}--*")
        for temperature in (0.6, 0.8, 1.0):
            run = load(place, changes=[f"temperature={temperature}"])
            rows.append(sample_pixels(run, 16, seed=0))
    write_picture(grid(torch.cat(rows), columns=16, scale=3), DOCS / "images" / "flows.png")


if __name__ == "__main__":
    {"steps": steps, "mnist": mnist, "sheets": sheets}[sys.argv[1]](*sys.argv[2:])
