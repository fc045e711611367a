"""What is known of an autoencoder's latent vectors once it is trained: which numbers are used, and a mixture that fits them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.maths.mixture import Mixture, fit_mixture
from sfumato.streams import Rngs, normals, stream, uniforms

ACTIVE = 0.01  # variance of a number's mean over the images, from which it counts as used (Burda et al., 2016)


class Prior(nn.Module):
    """N(0, I), or a mixture of Gaussians fitted to latent vectors, in buffers."""

    shares: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, latent: int, components: int = 0):
        super().__init__()
        self.latent, self.components = latent, components
        k = max(components, 1)
        self.register_buffer("shares", torch.full((k,), 1 / k, dtype=torch.float64))
        self.register_buffer("means", torch.zeros(k, latent, dtype=torch.float64))
        self.register_buffer("factors", torch.eye(latent, dtype=torch.float64).repeat(k, 1, 1))

    def fit(self, z: Float[Tensor, "n k"]) -> None:
        """Take the likeliest mixture of these vectors, if it is one."""
        if self.components:
            found = fit_mixture(z, self.components, stream(0, "mixture", device=z.device))
            for mine, value in ((self.shares, found.weights), (self.means, found.means), (self.factors, found.factors)):
                mine.copy_(value)

    def draw(self, n: int, rng: Rngs) -> Float[Tensor, "n k"]:
        """n latent vectors."""
        normal = normals(rng, n, self.latent)
        if not self.components:
            return normal
        return Mixture(self.shares, self.means, self.factors).at(uniforms(rng, n), normal)


class Use(nn.Module):
    """How much of a latent vector is used: variance of each number's mean over images, and its KL from the prior."""

    spread: Tensor
    kl: Tensor

    def __init__(self, latent: int):
        super().__init__()
        self.register_buffer("spread", torch.zeros(latent))
        self.register_buffer("kl", torch.zeros(latent))

    def look(self, mean: Float[Tensor, "n k"], log_sd: Float[Tensor, "n k"]) -> None:
        """Take in the posteriors of all images."""
        self.spread.copy_(mean.var(0, unbiased=False))
        self.kl.copy_(divergence(mean, log_sd).mean(0))

    def words(self) -> str:
        """For a card; empty before anything was seen."""
        if not bool(self.kl.any()):
            return ""
        active = int((self.spread > ACTIVE).sum())
        return f"Latent vector: {active} of {len(self.kl)} numbers active, KL {float(self.kl.sum()):.1f} nats an image"


def divergence(mean: Float[Tensor, "B k"], log_sd: Float[Tensor, "B k"]) -> Float[Tensor, "B k"]:
    """KL(N(mean, sd^2) | N(0, 1)) of each number, in nats.

    Example:
        >>> divergence(torch.tensor([[1.0]]), torch.tensor([[0.0]])).tolist()
        [[0.5]]
    """
    return 0.5 * (mean.square() + (2 * log_sd).exp() - 1) - log_sd
