"""What is not arithmetic: the trainer's own share of a step, and the sampler's of a walk, beside diffusers' pipeline.

    python -m benchmarks.overhead

A step is taken apart by clocks around forward, backward and the optimiser; the rest is the trainer's own: batches,
masks, averages, accounting. A walk is taken apart by a clock around the network. The pipeline walks with the very same module.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDIMPipeline, DDIMScheduler
from torch import nn

from benchmarks.sides import alternate
from benchmarks.train_step import peer_network
from sfumato.data.base import DataSpec, Split
from sfumato.families.base import parameter_count
from sfumato.families.ddpm import DDPM
from sfumato.streams import stream
from sfumato.tasks.generation import Generation
from sfumato.training.budget import Budget
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer
from sfumato.training.turn import Turn

SPEC, BATCH, STEPS, IMAGES = DataSpec(channels=3, size=32), 64, 12, 16


class Clock:
    """Seconds inside some functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def trainer_share() -> float:
    """The part of a round that is neither a loss, nor its backward, nor the optimiser."""
    family = make_family(DDPM.Config(width=32), SPEC, 0)
    print(f"U-Net of {parameter_count([family]):,} parameters, batch {BATCH}, float32")
    images = torch.randint(0, 256, (1024, 3, 32, 32), generator=stream(0, "bench"), dtype=torch.uint8)
    trainer = Trainer(
        family, Generation(Generation.Config()), Budget(images=BATCH * STEPS, batch=BATCH, precision="float32"), seed=0
    )
    inside, whole, rounds = Clock(), Clock(), [0]
    real = Trainer._round, Turn._terms, torch.Tensor.backward, torch.optim.AdamW.step, trainer.state.average.update

    def round_(self: Trainer, *arguments: Any) -> None:
        rounds[0] += 1
        if rounds[0] == 3:  # the first ones warm up and are counted
            inside.seconds = whole.seconds = 0.0
        whole.around(real[0])(self, *arguments)

    Trainer._round, Turn._terms = round_, inside.around(real[1])
    torch.Tensor.backward, torch.optim.AdamW.step = inside.around(real[2]), inside.around(real[3])
    trainer.state.average.update = whole.around(real[4])
    try:
        trainer.run(Split(images))
    finally:
        Trainer._round, Turn._terms, torch.Tensor.backward, torch.optim.AdamW.step = real[:4]
    return 1 - inside.seconds / whole.seconds


class Borrowed(nn.Module):
    """diffusers' U-Net as a network of ours."""

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.unet = unet

    def forward(self, x_t: torch.Tensor, time: torch.Tensor, condition: Any) -> torch.Tensor:
        return self.unet(x_t, time * 1000).sample


def walks() -> tuple[float, float]:
    """The part of our walk that is not the network, and its time over the pipeline's, both of 25 steps."""
    unet = peer_network((32, 64, 128, 128)).eval()
    family: Any = make_family(DDPM.Config(width=8, prediction="eps", sampler={"steps": 25}), SPEC, 0)
    family.network = Borrowed(unet)
    pipeline = DDIMPipeline(unet, DDIMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2"))
    pipeline.set_progress_bar_config(disable=True)
    inside, whole = Clock(), Clock()
    forward = family.network.forward
    family.network.forward = inside.around(forward)
    family.sample(IMAGES, rng=stream(0, "sample"))
    inside.seconds = 0.0
    whole.around(family.sample)(IMAGES, rng=stream(0, "sample"))
    family.network.forward = forward
    seconds = alternate(
        {
            "ours": lambda: family.sample(IMAGES, rng=stream(0, "sample")),
            "pipeline": lambda: pipeline(batch_size=IMAGES, num_inference_steps=25, output_type="np"),
        },
        rounds=5,
    )
    return 1 - inside.seconds / whole.seconds, seconds["ours"] / seconds["pipeline"]


def main() -> None:
    """Print the shares and the ratio."""
    print(f"threads {torch.get_num_threads()}")
    print(f"trainer's own share of a step: {trainer_share():.1%} (target below 3 %)")
    share, ratio = walks()
    print(f"sampler's own share of a walk: {share:.1%} (target below 3 %)")
    print(f"walk of 25 steps over diffusers' DDIMPipeline with the same module: {ratio:.2f} (target at most 1.0)")


if __name__ == "__main__":
    main()
