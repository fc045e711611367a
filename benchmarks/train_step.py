"""DDPM training step: our default U-Net in our trainer against diffusers' UNet2DModel of equal parameters and attention.

    python -m benchmarks.train_step

Two peers: the plain loop people write (float32, default layout, a DataLoader over PIL images) and the same loop with
channels_last and its input already in memory. Same batch, same optimiser (AdamW), same data, threads left to torch. Ours runs
in float32, and in what `auto` takes on this machine. Operations are counted by torch for one step of each, so FLOP/s say what
is layout and images/s what is architecture.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.sides import alternate, training
from sfumato.data.base import DataSpec
from sfumato.families.base import parameter_count
from sfumato.families.ddpm import DDPM
from sfumato.streams import stream
from sfumato.studies.parity import fit_parameters
from sfumato.training.budget import Budget
from sfumato.training.ledger import flop_counter
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer

BATCH, STEPS, ROUNDS = 32, 8, 3


class Pictures(Dataset):
    """PIL images turned to tensors one by one, as in most training scripts."""

    def __init__(self, images: torch.Tensor):
        self.pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, place):
        array = np.asarray(self.pictures[place], dtype=np.float32) / 127.5 - 1.0
        return torch.from_numpy(array).permute(2, 0, 1)


def peer_network(channels: tuple[int, ...], inputs: int = 3) -> UNet2DModel:
    """diffusers' U-Net, one block a level, attention on maps of at most 8 x 8 and in the middle, as ours."""
    levels = range(len(channels))
    down = tuple("AttnDownBlock2D" if 32 >> level <= 8 else "DownBlock2D" for level in levels)
    up = tuple("AttnUpBlock2D" if 32 >> level <= 8 else "UpBlock2D" for level in reversed(levels))
    return UNet2DModel(
        sample_size=32,
        in_channels=inputs,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=channels,
        norm_num_groups=8,
        attention_head_dim=32,
        down_block_types=down,
        up_block_types=up,
    )


def peer(images: torch.Tensor, channels: tuple[int, ...], fast: bool) -> tuple[Callable[[], None], int]:
    """STEPS training steps of diffusers' loop, and the network's parameters."""
    network = peer_network(channels)
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    if fast:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    loader = DataLoader(Pictures(images), batch_size=BATCH, shuffle=True)
    ready = (images[: BATCH * STEPS].float() / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)

    def work() -> None:
        batches = iter(ready.split(BATCH)) if fast else iter(loader)
        for _ in range(STEPS):
            x = next(batches)
            eps, t = torch.randn_like(x), torch.randint(0, 1000, (len(x),))
            loss = (network(scheduler.add_noise(x, eps, t), t).sample - eps).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return work, sum(p.numel() for p in network.parameters())


def ours(images: torch.Tensor, parameters: int, precision: str) -> tuple[Callable[[], None], int, Trainer]:
    """STEPS turns of our trainer with the default DDPM at the same number of parameters."""
    spec = DataSpec(channels=3, size=32)
    family = make_family(fit_parameters(DDPM.Config(), spec, parameters, 0.02), spec, 0)
    work, first = training(family, images, Budget(images=BATCH * STEPS, batch=BATCH, precision=precision))
    return work, parameter_count([family]), first


def main() -> None:
    """Print images a second and the ratios, against the peer with three levels and with the four of our default."""
    images = torch.randint(0, 256, (512, 3, 32, 32), generator=stream(0, "bench"), dtype=torch.uint8)
    print(f"threads {torch.get_num_threads()}, batch {BATCH}")
    for channels in ((32, 64, 128), (32, 64, 128, 128)):
        plain, wanted = peer(images, channels, fast=False)
        fast, _ = peer(images, channels, fast=True)
        mine, count, trainer = ours(images, wanted, "float32")
        auto, _, quick = ours(images, wanted, "auto")
        with flop_counter() as counter:
            fast()
        work = {"plain": counter.get_total_flops(), "fast": counter.get_total_flops()}
        work |= {"ours": trainer.ledger.flops, "auto": trainer.ledger.flops}
        seconds = alternate({"plain": plain, "fast": fast, "ours": mine, "auto": auto}, ROUNDS)
        rate = {name: BATCH * STEPS / value for name, value in seconds.items()}
        speed = {name: work[name] / value / 1e9 for name, value in seconds.items()}
        print(f"\ndiffusers with {channels}: {wanted:,} parameters; ours {count:,} ({count / wanted - 1:+.1%})")
        print(f"diffusers, plain loop:               {rate['plain']:7.1f} images/s  {speed['plain']:6.1f} GFLOP/s")
        print(f"diffusers, channels_last, in memory: {rate['fast']:7.1f} images/s  {speed['fast']:6.1f} GFLOP/s")
        print(f"sfumato, float32:                    {rate['ours']:7.1f} images/s  {speed['ours']:6.1f} GFLOP/s")
        print(
            f"sfumato, auto ({quick.ledger.precision}):{'':{20 - len(quick.ledger.precision)}} {rate['auto']:7.1f} images/s"
        )
        print(
            f"float32 to plain {rate['ours'] / rate['plain']:.2f}, to fast {rate['ours'] / rate['fast']:.2f}; "
            f"FLOP/s to fast {speed['ours'] / speed['fast']:.2f} (target 1.0); auto to fast {rate['auto'] / rate['fast']:.2f} "
            "(target 1.5 where bfloat16 exists)"
        )


if __name__ == "__main__":
    main()
