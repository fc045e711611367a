"""VAE (Kingma and Welling, 2014): an encoder says which latent vectors an image may have, a decoder makes images of them.

What the decoder says of a pixel is a slot (gaussian with the likeliest sigma, bernoulli, logistic), so that one can see how
much of a VAE's blur is the bound's and how much the decoder's. For restoration both networks see the condition.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.errors import CapabilityError, ConfigError
from sfumato.families.abilities import Decodes, Encodes, Likelihood
from sfumato.families.adversaries import Adversaries, Modern
from sfumato.families.base import Batch, Family, Objective, Pass, Player, Stage, Terms, weights
from sfumato.families.latents import Prior, Use, divergence
from sfumato.families.laws import Gaussian, Law
from sfumato.families.optimizers import AdamW, Optimizer
from sfumato.images import Images, Size
from sfumato.kinds import build, choice
from sfumato.networks.condition import Condition
from sfumato.streams import Rngs, normals, stream

TRAIN, LATENTS = "train", "latents"
COLLAPSED = 0.1  # nats of KL below which the latent vector says nothing


class VAE(Family, Decodes, Encodes, Likelihood):
    """-E log p(x | z, y) + beta KL(q(z | x, y) | N(0, I)), z = mu + sigma eps, summed over pixels and over latent numbers.

    Reference: Kingma and Welling (2014), Auto-encoding variational Bayes; Higgins et al. (2017) for beta; Ghosh et al. (2020),
    From variational to deterministic autoencoders, for the mixture after training.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = VAE(VAE.Config(width=8), DataSpec(channels=1, size=8))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 8)
    """

    class Config(Strict):
        kind: Literal["vae"] = "vae"
        width: float = Field(default=32, gt=0)
        """Channels of the widest map of the decoder; parity solves for it."""
        embedding: int | None = Field(default=None, ge=4)
        """Length of the vector, made of z, that tells every block; parity's fine knob. Left out: z itself."""
        encoder_width: float | None = Field(default=None, gt=0)
        """Channels of the widest map of the encoder; the decoder's width when left out."""
        latent: int = Field(default=64, ge=1)
        """Length of z."""
        network: Annotated[Any, choice(Adversaries, "residual")] = Modern.Config()
        """residual (convolutions) or mlp (paper 003, with width = 400, latent = 20)."""
        likelihood: Annotated[Any, choice(Law, "gaussian")] = Gaussian.Config()
        """What the decoder says of a pixel: gaussian, bernoulli or logistic."""
        beta: float = Field(default=1.0, ge=0.0)
        """Weight of the KL term; 1 is the bound."""
        prior: Literal["normal", "mixture"] = "normal"
        """What samples are decoded from: N(0, I), or a Gaussian mixture of the training images' latent vectors."""
        components: int = Field(default=10, ge=1)
        """Gaussians of the mixture."""
        importance: int = Field(default=32, ge=1)
        """Draws for log p(x) >= E log mean_k p(x, z_k) / q(z_k | x); the bound tightens with more (Burda et al., 2016)."""
        labels: bool = False
        """Tell both networks the class of each image; the data must have labels."""
        optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(lr=1e-3)
        """How the weights move."""

    exact = False

    def build(self) -> None:
        """Both networks, the law, and what is known of the latent vectors once the training is over."""
        c, classes = self.config, self.spec.classes if self.labelled else 0
        if c.prior != "normal" and self.spec.condition:
            raise ConfigError("prior = 'mixture' is for generation; with an observation the prior stays normal")
        networks: Adversaries = build(c.network)
        self.decoder: nn.Module = networks.generator(self.spec, c.width, c.latent, classes, c.embedding)
        self.encoder: nn.Module = networks.encoder(self.spec, c.encoder_width or c.width, 2 * c.latent, classes)
        self.law: Law = build(c.likelihood)
        self.density = self.law.density
        self.prior = Prior(c.latent, c.components if c.prior != "normal" else 0)
        self.use = Use(c.latent)

    def stages(self) -> Sequence[Stage]:
        """Training, then a look at the latent vectors of all images where there is no observation to tell."""
        after = [] if self.spec.condition else [Stage(LATENTS, share=0.0)]
        return (Stage(TRAIN, use_average=True), *after)

    def players(self, stage: Stage) -> Sequence[Player]:
        """Encoder and decoder move together."""
        if stage.name != TRAIN:
            return ()
        group = weights(self.decoder, self.encoder, self.law)
        return [Player("autoencoder", [group], [Objective(self.loss)], self.config.optimizer)]

    def loss(self, batch: Batch) -> Terms:
        """Nats of an image, of which the task's loss looks at some pixels."""
        x = self.law.taken(batch.x, batch.rng)
        mean, log_sd = self.posterior(x, batch.condition)
        z = mean + log_sd.exp() * torch.randn(mean.shape, generator=batch.rng, device=mean.device)
        nll = self.law.nll(self.decode(z, batch.condition), x, batch.observation.weight)
        return {"reconstruction": nll.mean(), "kl": self.config.beta * divergence(mean, log_sd).sum(1).mean()}

    def posterior(self, x: Images, condition: Condition) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z | x, condition), [B, latent] each."""
        mean, log_sd = self.encoder(x, condition).chunk(2, dim=1)
        return mean, log_sd.clamp(-8.0, 4.0)

    def fit(self, stage: Stage, images: Pass) -> Iterator[float]:
        """The latent vectors of all training images: which numbers are used, and the mixture that fits them."""
        if stage.name != LATENTS:
            return
        was, means, log_sds = self.training, [], []
        self.eval()
        with torch.no_grad():
            for x, label in images.all():
                told = Condition(label=label if self.labelled else None)
                mean, log_sd = self.posterior(self.law.taken(x, stream(0, "latents", device=x.device)), told)
                means.append(mean)
                log_sds.append(log_sd)
                yield 0.0
        self.train(was)
        mean, log_sd = torch.cat(means).float(), torch.cat(log_sds).float()
        self.use.look(mean, log_sd)
        self.prior.fit(mean + log_sd.exp() * normals(stream(0, "latents", device=mean.device), *mean.shape))
        yield 1.0

    def notes(self) -> Sequence[str]:
        """Use of the latent vector, where all images were looked at."""
        return [words] if (words := self.use.words()) else []

    def alarm(self, means: Mapping[str, float]) -> str:
        """A posterior that has become the prior."""
        kl = means.get("autoencoder.kl", math.inf) / max(self.config.beta, 1e-9)
        if kl >= COLLAPSED:
            return ""
        return f"posterior collapse: KL {kl:.2g} nats, so that the latent vector says nothing of the image; lower beta"

    def latent(self, n: int, rng: Rngs) -> Tensor:
        """z from the prior, [n, latent]."""
        return self.prior.draw(n, rng)

    def decode(self, z: Tensor, condition: Condition) -> Images:
        """The mean of p(x | z, y)."""
        made: Tensor = self.decoder(z, condition)
        return made

    def encode(self, x: Images, condition: Condition) -> Tensor:
        """The mean of q(z | x, y)."""
        return self.posterior(x, condition)[0]

    @torch.no_grad()
    def log_prob(self, x: Images, condition: Condition, rng: Rngs) -> Float[Tensor, " B"]:
        """log mean_k p(x | z_k) p(z_k) / q(z_k | x), a bound that is right on average and tightens with `importance`."""
        if self.config.prior != "normal":
            raise CapabilityError("log p(x) is bounded with the prior of the training; set prior = 'normal'")
        generator = rng if isinstance(rng, torch.Generator) else rng[0]
        x = self.law.taken(x, generator)
        mean, log_sd = self.posterior(x, condition)
        ratios = []
        for _ in range(self.config.importance):
            eps = normals(rng, *mean.shape)
            z = mean + log_sd.exp() * eps
            apart = 0.5 * (eps.square() - z.square()).sum(1) + log_sd.sum(1)  # log p(z) - log q(z | x)
            ratios.append(self.law.log_density(self.decode(z, condition), x) + apart)
        return torch.stack(ratios).logsumexp(0) - math.log(len(ratios))

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """The decoder's mean of a vector from the prior."""
        return self.decode(self.latent(n, rng), condition)

    def deployed(self) -> Sequence[nn.Module]:
        """The decoder and the prior."""
        return (self.decoder, self.prior)

    def companions(self) -> Sequence[nn.Module]:
        """What encodes and rates images."""
        return (self.encoder, self.law, self.use)
