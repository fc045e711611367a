"""The VAE: its bound against laws that are known exactly, and the faults that a mean in place of a sum makes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import logistic, multivariate_normal
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from sfumato.data.base import DataSpec
from sfumato.errors import CapabilityError, ConfigError
from sfumato.families.laws import Bernoulli, Gaussian, Logistic
from sfumato.families.vae import VAE
from sfumato.images import LEVEL
from sfumato.maths.mixture import fit_mixture
from sfumato.networks.condition import NOTHING, Condition
from sfumato.streams import stream
from sfumato.training.run import make_family

from .test_meaning import batch

SPEC = DataSpec(channels=1, size=(2, 2))
SIGMA = 0.3


class Line(nn.Module):
    """A decoder W z + b."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, z: Tensor, condition: Condition) -> Tensor:
        return (z @ self.weight.T + self.bias).view(-1, 1, 2, 2)


class Exact(nn.Module):
    """The encoder that knows p(z | x) of a line with N(0, I) before it, whose covariance is diagonal in z."""

    def __init__(self, weight: Tensor, bias: Tensor, sigma: float):
        super().__init__()
        covariance = torch.linalg.inv(torch.eye(weight.shape[1]) + weight.T @ weight / sigma**2)
        self.matrix, self.bias = nn.Parameter(covariance @ weight.T / sigma**2), bias
        self.log_sd = nn.Parameter(0.5 * covariance.diagonal().log())

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        mean = (x.flatten(1) - self.bias) @ self.matrix.T
        return torch.cat([mean, self.log_sd.expand_as(mean)], 1)


def line() -> tuple[VAE, Tensor, np.ndarray]:
    """A VAE that is a line with its exact posterior, images, and their log densities by SciPy."""
    q, _ = torch.linalg.qr(torch.randn(4, 2, generator=stream(0, "line"), dtype=torch.float64))
    weight, bias = (q * torch.tensor([0.4, 0.2])).float(), torch.tensor([0.1, -0.1, 0.2, 0.0])
    family = make_family(VAE.Config(width=4, latent=2, likelihood={"kind": "gaussian", "sigma": SIGMA}), SPEC, 0)
    assert isinstance(family, VAE)
    family.decoder, family.encoder = Line(weight, bias), Exact(weight, bias, SIGMA)
    x = 0.5 * torch.randn(50, 1, 2, 2, generator=stream(0, "x"))
    law = multivariate_normal(bias.numpy(), (weight @ weight.T + SIGMA**2 * torch.eye(4)).numpy())
    return family, x, law.logpdf(x.flatten(1).numpy())


def test_log_p_is_exact_where_the_posterior_is() -> None:
    family, x, known = line()
    for importance in (1, 5):
        family.config = family.config.model_copy(update={"importance": importance})
        found = family.log_prob(x, NOTHING, stream(0, "bits"))
        np.testing.assert_allclose(found.numpy(), known, atol=2e-4)


def test_the_bound_is_the_evidence_where_the_posterior_is_exact() -> None:
    family, x, known = line()
    many = x.repeat_interleave(2000, 0)
    terms = family.loss(batch(family, many))
    assert float(torch.stack(list(terms.values())).sum().detach()) == pytest.approx(-known.mean(), abs=0.02)


def test_importance_tightens_the_bound_of_a_wrong_posterior() -> None:
    family, x, known = line()
    family.encoder.log_sd.data += 0.4
    found = []
    for importance in (1, 20, 400):
        family.config = family.config.model_copy(update={"importance": importance})
        found.append(float(family.log_prob(x, NOTHING, stream(0, "bits")).mean()))
    assert found[0] < found[1] < found[2] < known.mean() + 0.02
    assert found[2] == pytest.approx(known.mean(), abs=0.02)


def test_a_trained_line_reaches_the_evidence_of_probabilistic_pca() -> None:
    """The likeliest line has a closed form (Tipping and Bishop, 1999): eigenvalues of the covariance of the data."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2)) @ np.array([[0.5, 0.3, -0.2, 0.1], [0.0, 0.2, 0.3, -0.3]]) + rng.normal(
        0, 0.1, (500, 4)
    )
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1]
    noise = eigenvalues[2:].mean()
    evidence = -0.5 * (4 * math.log(2 * math.pi) + np.log(eigenvalues[:2]).sum() + 2 * math.log(noise) + 4)
    family = make_family(VAE.Config(width=4, latent=2), SPEC, 0)
    assert isinstance(family, VAE)
    torch_rng = stream(0, "line")
    family.decoder = Line(0.1 * torch.randn(4, 2, generator=torch_rng), torch.zeros(4))
    family.encoder = Told(4, 2)
    images, optimizer = torch.tensor(x, dtype=torch.float32).view(-1, 1, 2, 2), None
    optimizer = torch.optim.Adam(family.parameters(), 0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1500)
    for _ in range(1500):
        optimizer.zero_grad()
        loss = torch.stack(list(family.loss(replace(batch(family, images), rng=torch_rng)).values())).sum()
        loss.backward()
        optimizer.step()
        schedule.step()
    found = np.mean(
        [-float(sum(family.loss(replace(batch(family, images), rng=torch_rng)).values()).detach()) for _ in range(20)]
    )
    assert found == pytest.approx(evidence, abs=0.05)
    assert found < evidence + 0.02, "no bound is above the evidence"


class Told(nn.Module):
    """A linear encoder."""

    def __init__(self, inputs: int, latent: int):
        super().__init__()
        self.mean, self.log_sd = nn.Linear(inputs, latent), nn.Parameter(torch.zeros(latent))

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        mean = self.mean(x.flatten(1))
        return torch.cat([mean, self.log_sd.expand_as(mean)], 1)


@pytest.mark.parametrize("law", ["gaussian", "bernoulli", "logistic"])
def test_a_loss_sums_over_pixels_and_averages_over_images(law: str) -> None:
    """Two copies of a batch change nothing; an image of four times the pixels has four times the nats."""
    x = torch.rand(6, 1, 4, 4, generator=stream(0, "x")) * 2 - 1
    made = {"gaussian": Gaussian(Gaussian.Config()), "bernoulli": Bernoulli(Bernoulli.Config())}.get(
        law, Logistic(Logistic.Config())
    )
    decoded, weight = 0.3 * x, torch.ones(6, 1, 4, 4)
    once = made.nll(decoded, x, weight).mean()
    twice = made.nll(*(part.repeat(2, 1, 1, 1) for part in (decoded, x, weight))).mean()
    torch.testing.assert_close(once, twice)
    large = made.nll(*(part.repeat(1, 1, 2, 2) for part in (decoded, x, weight))).mean()
    torch.testing.assert_close(large, 4 * once)
    half = weight.clone()
    half[:, :, :2] = 0
    other = x.clone()
    other[:, :, :2] = 0.9
    torch.testing.assert_close(made.nll(decoded, x, half), made.nll(decoded, other, half))


def test_the_likeliest_sigma_is_the_root_of_the_mean_squared_error() -> None:
    law = Gaussian(Gaussian.Config())
    x, decoded = torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2, 2), 0.2)
    found = law.nll(decoded, x, torch.ones(2, 1, 2, 2))
    expected = -4 * (-0.5 * math.log(2 * math.pi * 0.04) - 0.5)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(law.log_density(decoded, x).numpy(), -expected, rtol=1e-5)


def test_the_logistic_law_against_scipy_and_its_levels_sum_to_one() -> None:
    law = Logistic(Logistic.Config(scale=0.05))
    levels = torch.arange(256) * LEVEL - 1
    x, decoded = levels.view(256, 1, 1, 1), torch.full((256, 1, 1, 1), 0.123)
    mass = np.exp(-law.nll(decoded, x, torch.ones(256, 1, 1, 1)).detach().numpy())
    edges = np.concatenate([[-np.inf], levels[:-1].numpy() + LEVEL / 2, [np.inf]])
    np.testing.assert_allclose(mass, np.diff(logistic(0.123, 0.05).cdf(edges)), atol=2e-6)
    assert mass.sum() == pytest.approx(1.0, abs=1e-5)


def test_black_and_white_images_are_drawn_with_their_odds() -> None:
    law = Bernoulli(Bernoulli.Config(binarise=True))
    x = torch.full((1, 1, 100, 100), 0.4)
    taken = law.taken(x, stream(0, "b"))
    assert set(taken.unique().tolist()) == {-1.0, 1.0} and float(taken.mean()) == pytest.approx(0.4, abs=0.03)
    with pytest.raises(CapabilityError, match="no density"):
        Bernoulli(Bernoulli.Config()).log_density(x, x)


def test_the_mixture_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(m, s, (400, 2)) for m, s in (([0, 0], 0.5), ([4, 1], 1.0), ([-3, 3], 0.3))])
    ours = fit_mixture(torch.tensor(x), 3, stream(0, "mixture"), stop=1e-7)
    theirs = GaussianMixture(3, random_state=0, tol=1e-7, n_init=3).fit(x)
    assert float(ours.log_prob(torch.tensor(x)).mean()) == pytest.approx(theirs.score(x), abs=1e-3)
    order, other = ours.means[:, 0].argsort(), theirs.means_[:, 0].argsort()
    np.testing.assert_allclose(ours.means[order].numpy(), theirs.means_[other], atol=0.02)
    np.testing.assert_allclose(ours.weights[order].numpy(), theirs.weights_[other], atol=0.01)
    drawn = ours.at(torch.rand(4000, generator=stream(1, "u")), torch.randn(4000, 2, generator=stream(1, "n")))
    np.testing.assert_allclose(drawn.mean(0).numpy(), x.mean(0), atol=0.15)
    np.testing.assert_allclose(np.cov(drawn.numpy().T), np.cov(x.T), atol=0.4)


def test_what_is_known_of_the_latent_vectors_is_on_the_card_and_the_mixture_is_what_is_drawn_from(
    tmp_path: Any,
) -> None:
    from sfumato.config import load
    from sfumato.training import run

    values = {
        "data": {"kind": "digits", "train": 64, "validation": 8, "test": 8},
        "tasks": ["generation"],
        "family": {"kind": "vae", "width": 4, "latent": 3, "prior": "mixture", "components": 2},
        "budget": {"images": 64, "batch": 16},
    }
    made = run.train(load(run.RunConfig, values), tmp_path / "r", device="cpu")
    assert "Latent vector: " in (tmp_path / "r" / "card.md").read_text()
    again = run.load(tmp_path / "r")
    assert isinstance(again.family, VAE) and float(again.family.prior.means.abs().sum()) > 0
    assert torch.equal(made.family.sample(3, rng=stream(0, "s")), again.family.sample(3, rng=stream(0, "s")))
    x = torch.zeros(2, 1, 16, 16)[:, :, : again.spec.size[0], : again.spec.size[1]]
    assert torch.equal(again.family.encode(x, NOTHING), made.family.encode(x, NOTHING)), "an encoder is saved too"
    with pytest.raises(ConfigError, match="for generation"):
        make_family(VAE.Config(prior="mixture"), SPEC.model_copy(update={"condition": 2}), 0)


def test_a_posterior_that_says_nothing_is_named() -> None:
    family = make_family(VAE.Config(width=4), SPEC, 0)
    assert "posterior collapse" in family.alarm({"autoencoder.kl": 0.01})
    assert family.alarm({"autoencoder.kl": 12.0}) == ""
