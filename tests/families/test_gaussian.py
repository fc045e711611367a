"""The Gaussian family. Oracles: NumPy's moments, torch.distributions, and Bayes' rule in its information form.

(C^-1 + A^T A / sigma^2)^-1 shares no formula with the library, which solves with A C A^T + sigma^2 I or with parts of C^-1;
measurements without noise are its limit, and are held against the textbook's partition of C.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from sfumato.data.base import DataSpec, Split
from sfumato.errors import CapabilityError, ConfigError, DataError, ShapeError
from sfumato.families import gaussian
from sfumato.families.gaussian import Gaussian
from sfumato.images import to_float
from sfumato.kinds import build
from sfumato.networks.condition import NOTHING, Condition
from sfumato.restorers.density import DensityAscent
from sfumato.restorers.gaussian_posterior import GaussianPosterior
from sfumato.streams import stream
from sfumato.tasks.base import Observation, Operator
from sfumato.tasks.blur import Blur, Motion
from sfumato.tasks.blur import Gaussian as Soft
from sfumato.tasks.down_sampling import BlockMean
from sfumato.tasks.inpainting import Inpainting
from sfumato.tasks.operators import Identity, Luma, Masking, Nothing, Unknown
from sfumato.training.budget import Budget
from sfumato.training.trainer import Trainer

C, H, W = 3, 2, 4
D = C * H * W
SPEC = DataSpec(channels=C, size=(H, W), classes=2)
MANY = 20_000


def pixels(n: int = 60) -> tuple[Tensor, Tensor]:
    """Correlated pictures of two classes that differ in brightness."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, n)
    mix = rng.normal(0, 1, (D, D)) / np.sqrt(D)
    values = 110 + 40 * label[:, None] + np.linspace(-20, 20, D) + rng.normal(0, 40, (n, D)) @ mix
    return torch.from_numpy(values.clip(0, 255).astype(np.uint8)).view(n, C, H, W), torch.from_numpy(label)


class OnePass:
    """What `fit` is given: the images in parts."""

    def __init__(self, images: Tensor, label: Tensor | None = None):
        self.images, self.label = images, label

    def all(self, at_once: int = 7) -> Iterator[tuple[Tensor, Tensor | None]]:
        for start in range(0, len(self.images), at_once):
            part = slice(start, start + at_once)
            yield to_float(self.images[part]), None if self.label is None else self.label[part]


def fitted(spec: DataSpec = SPEC, **settings: Any) -> Gaussian:
    images, label = pixels()
    family = Gaussian(Gaussian.Config(**settings), spec)
    shares = list(family.fit(family.stages()[0], OnePass(images, label)))
    assert shares[-1] == 1.0
    return family


def truth(images: Tensor, ridge: float, mirror: bool) -> tuple[np.ndarray, np.ndarray]:
    x = images.numpy().astype(np.float64) / 127.5 - 1
    rows = (np.concatenate([x, x[..., ::-1]]) if mirror else x).reshape(-1, D)
    return rows.mean(0), np.cov(rows.T) + ridge * np.eye(D)


def model(family: Gaussian, k: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return family.means[k].double().numpy(), family.covariances[k].double().numpy()


@pytest.mark.parametrize("mirror", [True, False])
def test_fit_is_numpy_s_mean_and_covariance_with_the_ridge(mirror: bool) -> None:
    mean, covariance = truth(pixels()[0], 0.03, mirror)
    got = model(fitted(ridge=0.03, mirror=mirror))
    np.testing.assert_allclose(got[0], mean, atol=1e-6)
    np.testing.assert_allclose(got[1], covariance, atol=1e-6)


def test_each_class_has_its_own_moments_and_the_last_are_of_all() -> None:
    images, label = pixels()
    family = fitted(labels=True)
    for k, part in enumerate((images[label == 0], images[label == 1], images)):
        mean, covariance = truth(part, 0.01, True)
        np.testing.assert_allclose(model(family, k)[0], mean, atol=1e-6)
        np.testing.assert_allclose(model(family, k)[1], covariance, atol=1e-6)


def test_log_prob_is_that_of_the_normal_distribution() -> None:
    family, x = fitted(labels=True), to_float(pixels()[0][:5])
    told = torch.tensor([0, 1, 2, 1, 0])
    got = family.log_prob(x, Condition(label=told), stream(0, "unused"))
    for i, k in enumerate(told.tolist()):
        mean, covariance = (torch.from_numpy(part) for part in model(family, k))
        want = MultivariateNormal(mean, covariance).log_prob(x[i].flatten().double())
        torch.testing.assert_close(got[i], want, rtol=1e-9, atol=1e-9)
    untold = family.log_prob(x, NOTHING, stream(0, "unused"))  # nothing told is the class after the last
    torch.testing.assert_close(untold[2], got[2], rtol=0, atol=1e-9)


def test_draws_have_the_mean_and_covariance() -> None:
    family = fitted()
    spread(family.draw(MANY, NOTHING, (H, W), stream(0, "sample")), *model(family))


def spread(x: Tensor, mean: np.ndarray, covariance: np.ndarray) -> None:
    """Many draws against what they should be like, within five standard errors."""
    rows = x.flatten(1).double().numpy()
    n, variance = len(rows), np.diag(covariance).clip(min=0)  # a known entry has 0, up to rounding
    assert (np.abs(rows.mean(0) - mean) <= 5 * np.sqrt(variance / n) + 1e-5).all()
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / n)
    assert (np.abs(np.cov(rows.T) - covariance) <= 5 * error + 1e-5).all()


def mask(n: int) -> Operator:
    known = torch.ones(n, 1, H, W)
    known[:, :, 0, 1:3] = known[:, :, 1, 2] = 0
    return Masking(known)


def blur(n: int) -> Operator:
    return Blur(Soft(Soft.Config(sigma=0.7)).draw(stream(0, "blur"), n, (H, W)))


def matrix(operator: Callable[[int], Operator]) -> np.ndarray:
    """A, column by column."""
    basis = torch.eye(D).view(D, C, H, W)
    return operator(D).forward(basis).flatten(1).double().numpy().T


def bayes(
    mean: np.ndarray, cov: np.ndarray, A: np.ndarray, y: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """The information form; without noise the partition of C, its rows that are 0 left out."""
    if noise:
        left = np.linalg.inv(np.linalg.inv(cov) + A.T @ A / noise**2)
        return left @ (np.linalg.solve(cov, mean) + A.T @ y / noise**2), left
    told = np.abs(A).sum(1) > 0
    A, y = A[told], y[told]
    gain = cov @ A.T @ np.linalg.inv(A @ cov @ A.T)
    return mean + gain @ (y - A @ mean), cov - gain @ A @ cov


CASES: dict[str, tuple[Callable[[int], Operator], float]] = {
    "mask": (mask, 0.0),
    "noisy mask": (mask, 0.1),
    "block mean": (lambda n: BlockMean(n, (H, W), 2), 0.0),
    "noise": (lambda n: Identity(n, (H, W)), 0.2),
    "luma": (lambda n: Luma(n, (H, W)), 0.0),
    "noisy blur": (blur, 0.05),
    "nothing": (lambda n: Nothing(n, (H, W)), 0.0),
    "everything": (lambda n: Identity(n, (H, W)), 0.0),
}


def observed(operator: Operator, x: Tensor, noise: float) -> Observation:
    y = operator.forward(x)
    if noise:
        y = y + noise * torch.randn(y.shape, generator=stream(0, "noise"))
    return Observation(y, operator, torch.ones_like(operator.known), noise)


@pytest.mark.parametrize("name", CASES)
def test_posterior_is_that_of_bayes_rule(name: str) -> None:
    make, noise = CASES[name]
    family, x = fitted(), to_float(pixels()[0][:3])
    seen = observed(make(3), x, noise)
    means = family.posterior(seen)
    for i in range(3):
        want, left = bayes(*model(family), matrix(make), seen.y[i].flatten().double().numpy(), noise)
        np.testing.assert_allclose(means[i].flatten().double().numpy(), want, atol=1e-4)
    many = Observation(seen.y[2:].expand(MANY, -1, -1, -1), make(MANY), torch.ones(MANY, 1, H, W), noise)
    spread(family.posterior(many, stream(0, "sample")), want, left)


def test_images_of_one_batch_may_have_their_own_operators_and_classes() -> None:
    family, x = fitted(labels=True), to_float(pixels()[0][:4])
    label = torch.tensor([0, 1, 0, 2])
    holes = Inpainting(Inpainting.Config(mask="pixels")).operator([stream(i, "mask") for i in range(4)], 4, (H, W))
    moved = Blur(Motion(Motion.Config(length=3.0)).draw([stream(i, "blur") for i in range(4)], 4, (H, W)))
    for operator, noise in ((holes, 0.0), (moved, 0.05)):
        seen = observed(operator, x, noise)
        got = family.posterior(seen, label=label)
        for i, y in enumerate(seen.y.flatten(1).double().numpy()):
            A = matrix(lambda n, i=i, all=operator: all.pick(torch.full((n,), i)))  # type: ignore[misc]
            want, _ = bayes(*model(family, int(label[i])), A, y, noise)
            np.testing.assert_allclose(got[i].flatten().double().numpy(), want, atol=1e-4)
        rngs = [stream(i, "sample") for i in range(4)]
        drawn = family.posterior(seen, rngs, label)
        alone = family.posterior(seen.pick(slice(2, 3)), [stream(2, "sample")], label[2:3])
        torch.testing.assert_close(drawn[2:3], alone, rtol=0, atol=1e-5)


def test_many_blurs_of_their_own_are_answered_together(monkeypatch: pytest.MonkeyPatch) -> None:
    n, noise = 9, 0.05
    family, x = fitted(), to_float(pixels()[0][:n])
    moved = Blur(Motion(Motion.Config(length=3.0)).draw([stream(i, "blur") for i in range(n)], n, (H, W)))
    seen, rng = observed(moved, x, noise), stream(0, "sample")
    state = rng.get_state()
    solved: list[int] = []
    alone = type(family)._answer
    monkeypatch.setattr(type(family), "_answer", lambda *a: solved.append(a[3]) or alone(*a))
    means, draws = family.posterior(seen), family.posterior(seen, rng)
    assert not solved  # no matrix was factorised
    rng.set_state(state)
    monkeypatch.setattr(gaussian, "LOUD", 1.0)
    torch.testing.assert_close(means, family.posterior(seen), rtol=0, atol=1e-4)
    torch.testing.assert_close(draws, family.posterior(seen, rng), rtol=0, atol=1e-4)
    assert len(set(solved)) == n
    monkeypatch.setattr(gaussian, "LOUD", 0.0)
    monkeypatch.setattr(gaussian, "NEAR", 0.0)  # an iteration that has not come near enough is not believed
    solved.clear()
    torch.testing.assert_close(means, family.posterior(seen), rtol=0, atol=1e-4)
    assert len(set(solved)) == n


@pytest.mark.parametrize("condition", [0, C + 1])
def test_trained_saved_and_loaded_it_draws_and_restores_the_same(condition: int) -> None:
    spec = SPEC.model_copy(update={"condition": condition})
    images, label = pixels()
    family = Gaussian(Gaussian.Config(), spec)
    task = Inpainting(Inpainting.Config())
    Trainer(family, task, Budget(images=1), seed=0).run(Split(images, label))
    np.testing.assert_allclose(model(family)[1], truth(images, 0.01, True)[1], atol=1e-6)
    drawn = family.draw(2, NOTHING, (H, W), stream(0, "sample"))
    fresh = Gaussian(Gaussian.Config(), spec)
    fresh.draw(1, NOTHING, (H, W), stream(0, "sample"))  # what it derived from N(0, I) must not stay
    fresh.load_state_dict({name: value.clone() for name, value in family.state_dict().items()})
    assert torch.equal(fresh.draw(2, NOTHING, (H, W), stream(0, "sample")), drawn)
    seen = task.observe(to_float(images[:4]), stream(0, "mask"))
    for answer in ("draw", "mean"):
        config = GaussianPosterior.Config(answer=answer)
        one, two = (build(config, each).restore(seen, rng=stream(0, "sample")) for each in (family, fresh))
        assert torch.equal(one, two) and one.dtype == torch.float32 and float(one.abs().max()) <= 1
        torch.testing.assert_close(one * seen.known, to_float(images[:4]) * seen.known, rtol=0, atol=1e-6)


def test_the_restorer_tells_the_class_and_the_mean_has_the_smaller_error() -> None:
    family, x = fitted(labels=True), to_float(pixels()[0])
    seen, label = observed(mask(60), x, 0.0), pixels()[1]
    mean, drawn = (
        build(GaussianPosterior.Config(answer=answer), family).answer(seen, label, rng=stream(0, "sample"))
        for answer in ("mean", "draw")
    )
    torch.testing.assert_close(mean, family.posterior(seen, label=label).clamp(-1, 1), rtol=0, atol=1e-5)
    assert (mean - x).square().mean() < (drawn - x).square().mean()


def test_what_is_derived_for_classes_makes_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussian, "MOST", 2 * D * D * 8)
    images, label = pixels()
    family = Gaussian(Gaussian.Config(labels=True), SPEC)
    list(family.fit(family.stages()[0], OnePass(images, label)))
    x, before = to_float(images), None
    for _ in range(2):
        found = family.log_prob(x, Condition(label=torch.arange(60) % 3), stream(0, "density"))
        assert before is None or torch.equal(found, before)
        assert len(family._derived) == 2
        before = found


def test_what_it_cannot_do_is_said() -> None:
    family, images = fitted(), pixels()[0]
    pairs = Observation(to_float(images), Unknown(60, (H, W)), torch.ones(60, 1, H, W))
    with pytest.raises(CapabilityError, match="train a family on these pairs"):
        family.posterior(pairs)
    assert not GaussianPosterior.answers(pairs.operator)
    with pytest.raises(ShapeError, match="fit it at that one"):
        family.draw(1, NOTHING, (H, W + 1), stream(0, "sample"))
    with pytest.raises(ShapeError, match="fit it at that one"):
        family.posterior(observed(Identity(1, (1, 4)), torch.zeros(1, C, 1, 4), 0.0))
    with pytest.raises(ConfigError, match="make the images smaller"):
        Gaussian(Gaussian.Config(), DataSpec(channels=3, size=(128, 128)))
    with pytest.raises(ConfigError, match=r"40 classes .* GiB of covariances, over 4; set labels = false"):
        Gaussian(Gaussian.Config(labels=True), DataSpec(channels=3, size=(48, 48), classes=40))
    with pytest.raises(ConfigError, match="data with labels"):
        Gaussian(Gaussian.Config(labels=True), DataSpec(channels=1, size=(2, 2)))
    told = Gaussian(Gaussian.Config(labels=True), SPEC)
    for label, words in ((None, "labelled images"), (torch.zeros(60, dtype=torch.int64), "class 1 has no")):
        with pytest.raises(DataError, match=words):
            list(told.fit(told.stages()[0], OnePass(images, label)))


@pytest.mark.parametrize("name", ["mask", "block mean", "noise", "noisy blur", "nothing"])
def test_the_likeliest_image_is_the_posterior_mean(name: str) -> None:
    """Of a normal law, of which the restorer knows the density alone."""
    (make, noise), family, x = CASES[name], fitted(), to_float(pixels()[0][:3])
    seen = observed(make(3), x, noise)
    found = DensityAscent(DensityAscent.Config(steps=600), family).restore(seen, rng=stream(0, "ascent"))
    means, draws = (family.posterior(seen, rng) for rng in (None, stream(0, "draw")))
    assert float((found - means.clamp(-1, 1)).abs().mean()) < 0.01 < 0.05 < float((draws - means).abs().mean())
