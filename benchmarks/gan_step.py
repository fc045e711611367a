"""GAN training: our trainer beside the plain loop that people write, on the same networks, in images a second.

    python -m benchmarks.gan_step

The plain loop keeps its images in memory as float32 and has torch's Adam as it comes; ours reads bytes, has named streams,
averages weights and keeps its books. Two games: the non-saturating one, and the default with R1 and R2 on every turn. The
progressive and style GANs play the first, at their full size, without mixing and path length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.sides import alternate, training
from sfumato.data.base import DataSpec
from sfumato.families.base import parameter_count
from sfumato.families.gan import GAN
from sfumato.families.progressive_gan import ProgressiveGAN
from sfumato.families.stylegan import StyleGAN
from sfumato.families.stylegan2 import StyleGAN2
from sfumato.families.stylegan3 import StyleGAN3
from sfumato.networks.condition import NOTHING
from sfumato.streams import stream
from sfumato.training.budget import Budget
from sfumato.training.run import make_family

SPEC, BATCH, ROUNDS = DataSpec(channels=3, size=32), 64, 3


def slopes(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """E |grad C(x)|^2."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def plain(images: Tensor, config: Any, rounds: int) -> tuple[Callable[[], None], int]:
    """Rounds of a critic's and a generator's step, a batch each, and the weights that they train."""
    family: Any = make_family(config, SPEC, 0)
    ready = (images.float() / 127.5 - 1).split(BATCH)
    g_step = torch.optim.Adam(family.generator.parameters(), 1e-3, betas=(0.0, 0.99))
    d_step = torch.optim.Adam(family.critic.parameters(), 1e-3, betas=(0.0, 0.99))
    paired, penalised = family.game.paired, bool(config.penalties)

    def critic(x: Tensor) -> Tensor:
        return family.critic(x, NOTHING)

    def made() -> Tensor:
        return family.generator(torch.randn(BATCH, config.latent), NOTHING)

    def work() -> None:
        for place in range(rounds):
            x = ready[2 * place % len(ready)]
            with torch.no_grad():
                fake = made()
            real_score, fake_score = critic(x), critic(fake)
            loss = F.softplus(fake_score - real_score) if paired else F.softplus(-real_score) + F.softplus(fake_score)
            loss = loss.mean() + (0.25 * (slopes(critic, x) + slopes(critic, fake)) if penalised else 0.0)
            d_step.zero_grad()
            loss.backward()
            d_step.step()
            x = ready[(2 * place + 1) % len(ready)]
            score = critic(made())
            loss = F.softplus(critic(x) - score).mean() if paired else F.softplus(-score).mean()
            g_step.zero_grad()
            loss.backward()
            g_step.step()

    return work, parameter_count([family])


def ours(images: Tensor, config: Any, rounds: int) -> Callable[[], None]:
    """As many rounds of our trainer."""
    budget = Budget(images=2 * rounds * BATCH, batch=BATCH, precision="float32")
    return training(make_family(config, SPEC, 0), images, budget)[0]


def main() -> None:
    """Print all rows."""
    print(f"threads {torch.get_num_threads()}, batch {BATCH}, 32 x 32, float32")
    free: dict[str, Any] = {"game": "non_saturating", "penalties": []}
    bare = {"network": {"kind": "dcgan", "normalised": False}}
    rows: list[tuple[str, Any, int]] = [
        ("DCGAN, non-saturating", GAN.Config(network="dcgan", **free), 12),
        ("DCGAN, relativistic with R1 and R2", GAN.Config(**bare), 12),
        ("residual, non-saturating", GAN.Config(width=16, **free), 12),
        ("residual, relativistic with R1 and R2", GAN.Config(width=16), 12),
        ("R3GAN", GAN.Config(network="r3gan"), 8),
        ("progressive GAN", ProgressiveGAN.Config(width=16, grow=False, **free), 8),
        ("StyleGAN", StyleGAN.Config(width=16, grow=False, mixing=0.0, **free), 8),
        ("StyleGAN2", StyleGAN2.Config(width=16, mixing=0.0, path_length=0.0, **free), 8),
        ("StyleGAN3-T", StyleGAN3.Config(width=8, **free), 2),
    ]
    for name, config, rounds in rows:
        n = 2 * rounds * BATCH
        images = torch.randint(0, 256, (n, 3, 32, 32), generator=stream(0, "bench"), dtype=torch.uint8)
        loop, count = plain(images, config, rounds)
        seconds = alternate({"plain": loop, "ours": ours(images, config, rounds)}, ROUNDS)
        rate = {side: n / value for side, value in seconds.items()}
        print(
            f"{name}, {count:,} parameters: plain {rate['plain']:,.0f}, sfumato {rate['ours']:,.0f} images/s; "
            f"ratio {rate['ours'] / rate['plain']:.2f} (target 1.0)"
        )


if __name__ == "__main__":
    main()
