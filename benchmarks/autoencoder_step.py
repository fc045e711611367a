"""VAE training: our trainer beside pythae's, in images a second, on the same networks and batches.

    pip install --no-deps pythae imageio cloudpickle    # its other needs are here already
    TQDM_DISABLE=1 python -m benchmarks.autoencoder_step

pythae's default networks (fully connected, 512 hidden units), and our residual ones inside its trainer, as its guide says to
bring one's own. Between them stands the least a loop can take: forward, backward and a fused Adam on one batch in memory.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE as Theirs
from pythae.models import VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig

from benchmarks.sides import alternate, training
from sfumato.data.base import DataSpec
from sfumato.families.vae import VAE
from sfumato.networks.condition import Condition
from sfumato.streams import stream
from sfumato.training.budget import Budget
from sfumato.training.run import make_family

SPEC, BATCH, LATENT, ROUNDS = DataSpec(channels=1, size=28), 64, 16, 5
ADAM = {"kind": "adam", "lr": 1e-4, "betas": [0.9, 0.999], "warmup": 0.0, "decay": "constant"}


class OurEncoder(BaseEncoder):
    """Our encoder as pythae calls one."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> ModelOutput:
        mean, log_sd = self.network(2 * x - 1, Condition()).chunk(2, 1)
        return ModelOutput(embedding=mean, log_covariance=2 * log_sd)


class OurDecoder(BaseDecoder):
    """Our decoder as pythae calls one."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=((self.network(z, Condition()) + 1) / 2).clamp(0, 1))


def peer(images: torch.Tensor, config: Any) -> tuple[Callable[[], None], int]:
    """One epoch of pythae's trainer, and the weights that it trains."""
    settings = VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce")
    family: Any = make_family(config, SPEC, 0)
    own = config.network.kind == "mlp"
    model = Theirs(settings) if own else Theirs(settings, OurEncoder(family.encoder), OurDecoder(family.decoder))
    data = BaseDataset(images.float() / 255, torch.zeros(len(images)))
    folder = tempfile.mkdtemp()

    def work() -> None:
        training = BaseTrainerConfig(
            output_dir=folder, num_epochs=1, per_device_train_batch_size=BATCH, learning_rate=1e-4, optimizer_cls="Adam"
        )
        trainer = BaseTrainer(model, data, training_config=training)
        trainer.prepare_training()
        trainer.train_step(1)

    return work, sum(p.numel() for p in model.parameters())


def least(images: torch.Tensor, config: Any) -> Callable[[], None]:
    """As many steps on one batch, with nothing around them."""
    family: Any = make_family(config, SPEC, 0)
    x = (images[:BATCH].float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
    weights = [*family.encoder.parameters(), *family.decoder.parameters()]
    optimizer = torch.optim.Adam(weights, 1e-4, fused=True)

    def work() -> None:
        for _ in range(len(images) // BATCH):
            mean, log_sd = family.encoder(x, Condition()).chunk(2, 1)
            z = mean + log_sd.exp() * torch.randn(BATCH, LATENT)
            p = ((family.decoder(z, Condition()) + 1) / 2).clamp(0, 1)
            kl = 0.5 * (mean.square() + (2 * log_sd).exp() - 1 - 2 * log_sd)
            loss = torch.nn.functional.binary_cross_entropy(p, (x + 1) / 2, reduction="sum") + kl.sum()
            optimizer.zero_grad()
            (loss / BATCH).backward()
            optimizer.step()

    return work


def ours(images: torch.Tensor, config: Any, precision: str) -> tuple[Callable[[], None], str]:
    """One pass of our trainer, and its precision."""
    budget = Budget(images=len(images), batch=BATCH, precision=precision)
    work, first = training(make_family(config, SPEC, 0), images, budget)
    return work, first.ledger.precision


def main() -> None:
    """Print all rows."""
    logging.disable(logging.WARNING)
    print(f"threads {torch.get_num_threads()}, batch {BATCH}, digits of 28 x 28")
    shared: dict[str, Any] = {"latent": LATENT, "likelihood": "bernoulli", "optimizer": ADAM}
    for name, n, own in (
        ("fully connected, 512", 16_384, {"network": "mlp", "width": 512}),
        ("residual, 16", 2_048, {"width": 16}),
        ("residual, 64", 512, {"width": 64}),
    ):
        config = VAE.Config(**shared, **own)
        images = torch.randint(0, 256, (n, 1, 28, 28), generator=stream(0, "bench"), dtype=torch.uint8)
        theirs, count = peer(images, config)
        mine, _ = ours(images, config, "float32")
        auto, precision = ours(images, config, "auto")
        sides = {"pythae": theirs, "least": least(images, config), "float32": mine, f"auto ({precision})": auto}
        rate = {side: n / value for side, value in alternate(sides, ROUNDS).items()}
        print(f"{name}, {count:,} parameters, images/s:")
        for side, value in rate.items():
            print(f"  {side:>16} {value:8,.0f}  {value / rate['pythae']:.2f}")


if __name__ == "__main__":
    main()
