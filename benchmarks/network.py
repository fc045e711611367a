"""Our U-Net against diffusers' at equal parameters and equal wall-clock seconds: what each restores then.

    python -m benchmarks.network cifar10.npz [seconds]

Both are the network of the same DDPM in the same trainer (inpainting, boxes, float32), so that nothing else differs; each may
train as many images as it manages in the time. Test images and masks are the same.
"""

from __future__ import annotations

import sys
from typing import Any, Literal

import torch
from torch import nn

from benchmarks.train_step import peer_network
from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.data.npz import Npz
from sfumato.families.base import parameter_count
from sfumato.families.ddpm import DDPM
from sfumato.families.denoisers import DenoisingNetwork
from sfumato.kinds import build
from sfumato.metrics.frechet import Frechet
from sfumato.metrics.l1 import L1
from sfumato.restorers.conditional import Conditional
from sfumato.studies.measure import measure
from sfumato.studies.parity import fit_parameters
from sfumato.tasks.inpainting import Inpainting
from sfumato.training.budget import Budget
from sfumato.training.plan import plan
from sfumato.training.run import RunConfig, make_family, run_spec
from sfumato.training.trainer import Trainer

CHANNELS = (32, 64, 128, 128)


class Peer(nn.Module):
    """diffusers' U-Net, told the condition beside x_t."""

    def __init__(self, channels: int, condition: int):
        super().__init__()
        self.unet = peer_network(CHANNELS, channels + condition)

    def forward(self, x_t: torch.Tensor, time: torch.Tensor, condition: Any) -> torch.Tensor:
        return self.unet(condition.beside(x_t), time * 1000).sample


class Diffusers(DenoisingNetwork):
    """diffusers' UNet2DModel, one block a level, attention on maps of at most 8 x 8."""

    class Config(Strict):
        kind: Literal["diffusers"] = "diffusers"

    def network(self, spec: DataSpec, width: float, labels: int = 0, embedding: int | None = None) -> nn.Module:
        return Peer(spec.channels, spec.condition)


def main() -> None:
    """Print both networks' figures."""
    path, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 240.0
    source = Npz.Config(path=path, train=9000, test=300)
    data, task = build(source).load(), Inpainting(Inpainting.Config(mask="box"))
    spec = run_spec(data, [task])
    peer = DDPM.Config(network=Diffusers.Config())
    wanted = parameter_count([make_family(peer, spec, 0)])
    mine = fit_parameters(DDPM.Config(), spec, wanted, 0.02)
    for name, config in (("diffusers", peer), ("sfumato", mine)):
        family = make_family(config, spec, 0)
        run = RunConfig(
            data=source,
            tasks=[task.config],
            family=config,
            budget=Budget(images=100_000, flip=True, precision="float32"),
        )
        expected = plan(run, device="cpu", data=data)
        images = round(seconds * expected.images / expected.seconds / 64) * 64
        trainer = Trainer(family, task, Budget(images=images, flip=True, precision="float32"), seed=0)
        trainer.run(data.train)
        metrics = [L1(L1.Config()), Frechet(Frechet.Config(features={"kind": "lite0", "layer": "b4"}))]
        made = measure(
            Conditional(Conditional.Config(), family),
            task,
            data,
            metrics,
            seed=0,
            batch=100,
            device=torch.device("cpu"),
        )
        figures = ", ".join(
            f"{score.label} {score.value:.2f} ({score.low:.2f} to {score.high:.2f})" for score in made.scores
        )
        print(
            f"{name:10} {parameter_count([family]):,} parameters, {trainer.ledger.images:,} images in "
            f"{trainer.ledger.seconds:.0f} s, {trainer.ledger.flops / trainer.ledger.seconds / 1e9:.1f} GFLOP/s: {figures}"
        )


if __name__ == "__main__":
    main()
