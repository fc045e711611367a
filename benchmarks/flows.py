"""Flows: a training step beside normflows', and bits per dimension against images.

python -m benchmarks.flows steps               Glow's and RealNVP's layers at equal parameters, step after step in turns
python -m benchmarks.flows mnist MNIST.npz     bits per dimension of MNIST at 28 x 28, up to 200,000 images
"""

from __future__ import annotations

import csv
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import normflows
import torch
from normflows.flows.affine.glow import GlowBlock
from torch import Tensor, nn

from sfumato.data.npz import Npz
from sfumato.families.base import Family
from sfumato.families.simple_laws import Normal
from sfumato.kinds import parse
from sfumato.metrics.bits_per_dimension import BitsPerDimension
from sfumato.networks.condition import NOTHING
from sfumato.networks.couplings import Conditioner, Halves, plain
from sfumato.networks.invertible import ActNorm, Diagonals, Mixing, Squeeze
from sfumato.networks.multi_scale import Level, MultiScale
from sfumato.networks.transformations import Affine
from sfumato.tasks.generation import Generation
from sfumato.training.budget import Budget
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer

STEPS, WIDTH, BATCH, TURNS = 8, 64, 64, 15
PUBLIC = 1.078  # phlippe/uvadlc_notebooks, tutorial 11: 8 chessboard couplings, 556,312 parameters, 200 epochs
IMAGES = (12_500, 25_000, 50_000, 100_000, 200_000)


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
    """One training each, at a constant rate, looked at on the way: bits of the first 1,000 test images."""
    data = Npz(Npz.Config(path=Path(path))).load()
    rows = []
    for kind, settings in (("realnvp", {"width": 32}), ("glow", {"width": 64}), ("flow_pp", {"width": 32})):
        family: Any = make_family(parse(Family, {"kind": kind, **settings}), data.spec, 0)
        budget = Budget(images=IMAGES[-1], batch=64, moments=16)
        trainer = Trainer(
            family, Generation(Generation.Config()), budget, seed=0, folder=Path("runs/flows-mnist") / kind
        )
        trainer.run(data.train)
        (score,) = BitsPerDimension(BitsPerDimension.Config()).measure_model(
            family, data.test.first(1000), seed=0, batch=100
        )
        count = sum(p.numel() for p in family.transform.parameters())
        rows.append({"flow": kind, "parameters": count, "images": IMAGES[-1], "bits": score.value, "public": PUBLIC})
        print(rows[-1], flush=True)
    with Path("docs/results/flows-mnist.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    {"steps": steps, "mnist": mnist}[sys.argv[1]](*sys.argv[2:])
