"""Why GANs are unstable, in seconds: one point, a ring of eight, and what the critic of a WGAN estimates.

`python -m benchmarks.instability` prints the tables of docs/instability.md and draws its pictures into docs/images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import ot
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.data.base import DataSpec, Split
from sfumato.data.digits import Digits
from sfumato.data.toy import Toy
from sfumato.families.adversarial import Adversarial
from sfumato.families.games import NonSaturating, Wasserstein
from sfumato.families.penalties import Clip, GradientPenalty, Penalty, ZeroCentred
from sfumato.images import to_float
from sfumato.kinds import find
from sfumato.networks.condition import Condition
from sfumato.streams import stream
from sfumato.tasks.generation import Generation
from sfumato.training.budget import Budget
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer

IMAGES = Path(__file__).parents[1] / "docs" / "images"
FREE = Generation(Generation.Config())
FAST = {"kind": "adamw", "lr": 2e-3, "betas": [0.5, 0.9]}


class Slope(nn.Module):
    """The critic psi x of the Dirac GAN."""

    def __init__(self) -> None:
        super().__init__()
        self.psi = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.psi * x.flatten(1).sum(1)


def dirac(game: Any, penalty: Penalty | None, steps: int = 400, rate: float = 0.1) -> np.ndarray:
    """theta, psi along alternating gradient descent: data at 0, the generator at theta (Mescheder et al., 2018)."""
    theta, critic, path = torch.tensor(1.0, requires_grad=True), Slope(), []
    zero = torch.zeros(1, 1, 1, 1)
    for step in range(steps):
        made = theta.detach().view(1, 1, 1, 1)
        terms = dict(game.critic(critic(zero), critic(made)))
        if penalty is not None:
            terms |= penalty.penalty(critic, zero, made, stream(0, "dirac", step))
        (gradient,) = torch.autograd.grad(torch.stack(list(terms.values())).sum(), critic.psi)
        critic.psi.data -= rate * gradient
        if penalty is not None:
            penalty.after(critic)
        (gradient,) = torch.autograd.grad(game.generator(None, critic(theta.view(1, 1, 1, 1))), theta)
        theta.data -= rate * gradient
        path.append((float(theta.detach()), float(critic.psi.detach())))
    return np.array(path)


def show_dirac() -> None:
    """The orbits, and how far from 0 they end."""
    plain, even = NonSaturating(NonSaturating.Config()), {"gamma": 1.0, "gamma_end": 1.0}
    rows: dict[str, tuple[Any, Penalty | None]] = {
        "non-saturating": (plain, None),
        "with R1": (plain, ZeroCentred(ZeroCentred.Config(on="real", **even))),
        "with R2": (plain, ZeroCentred(ZeroCentred.Config(on="made", **even))),
        "WGAN": (Wasserstein(Wasserstein.Config()), None),
        "WGAN, clip": (Wasserstein(Wasserstein.Config()), Clip(Clip.Config(limit=1.0))),
        "WGAN, gradient penalty": (Wasserstein(Wasserstein.Config()), GradientPenalty(GradientPenalty.Config(weight=1.0))),
    }  # fmt: skip
    figure, axes = plt.subplots(1, len(rows), figsize=(14, 2.6), layout="constrained")
    print("| one point | distance from the data at the end | at most in the last 100 steps |\n|---|---|---|")
    for axis, (name, (game, penalty)) in zip(axes, rows.items(), strict=True):
        path = dirac(game, penalty)
        last = np.abs(path[-100:, 0])
        print(f"| {name} | {last[-1]:.3f} | {last.max():.3f} |")
        axis.plot(path[:, 0], path[:, 1], lw=0.8, color="#8a3324")
        axis.plot(*path[0], "o", ms=3, color="black")
        axis.plot(0, 0, "+", color="black")
        axis.set(title=name, xlabel="generator", xlim=(-2, 2), ylim=(-2, 2))
        axis.set_aspect("equal")
    axes[0].set_ylabel("critic")
    figure.savefig(IMAGES / "dirac-gan.png", dpi=100)
    plt.close(figure)


def trained(kind: str, images: int, **settings: Any) -> Adversarial:
    """A small family on the ring."""
    toy = Toy(Toy.Config(modes=8)).load()
    cls = find_family(kind)
    config = cls.Config.model_validate(
        {
            "kind": kind,
            "width": 128,
            "latent": 2,
            "network": "mlp",
            "generator_optimizer": FAST,
            "critic_optimizer": FAST,
        }
        | settings
    )
    family = make_family(config, toy.spec, 0)
    assert isinstance(family, Adversarial)
    Trainer(family, FREE, Budget(images=images, batch=256), seed=0).run(toy.train)
    return family


def find_family(kind: str) -> Any:
    from sfumato.families.base import Family

    return find(Family, kind)


def modes(points: Tensor) -> tuple[int, float]:
    """Modes of the ring that hold at least 1 % of the points within three sigma, and the share of points that are in any."""
    means, sigma, _ = Toy(Toy.Config(modes=8)).mixture()
    near = torch.cdist(points.double(), means.double()) < 3 * sigma
    return int((near.double().mean(0) > 0.01).sum()), float(near.any(1).double().mean())


def steepest(family: Adversarial) -> float:
    """The largest singular value of dG/dz over 500 draws: to send a ball to far places a generator has to be steep between."""
    z = family.latent(500, stream(0, "steep"))
    jacobian = torch.func.vmap(torch.func.jacrev(lambda one: family.decode(one[None], Condition()).flatten()))(z)
    return float(torch.linalg.matrix_norm(jacobian, ord=2).max())


def show_ring() -> None:
    """Games on a ring of eight."""
    plain: dict[str, Any] = {"penalties": []}
    both = {"kind": "zero_centred", "gamma": 0.5}
    rows = {
        "minimax": ("gan", {"game": "minimax", **plain}),
        "non-saturating": ("gan", {"game": "non_saturating", **plain}),
        "non-saturating, R1": ("gan", {"game": "non_saturating", "penalties": [{**both, "on": "real"}]}),
        "relativistic, R1 R2": ("gan", {"penalties": [both]}),
        "WGAN, clip": ("wgan", {"lipschitz": "clip"}),
        "WGAN, gradient penalty": ("wgan", {"lipschitz": {"kind": "gradient_penalty", "weight": 1.0}}),
    }  # fmt: skip
    figure, axes = plt.subplots(1, len(rows), figsize=(14, 2.6), layout="constrained")
    print("\n| ring of eight | modes found | points in a mode | steepest slope of G | alarm |\n|---|---|---|---|---|")
    for axis, (name, (kind, settings)) in zip(axes, rows.items(), strict=True):
        family = trained(kind, 600_000, **settings)
        points = family.sample(2000, rng=stream(0, "sample")).flatten(1)
        count, share = modes(points)
        print(
            f"| {name} | {count} of 8 | {share:.0%} | {steepest(family):.1f} | {family.alarm({}) or 'none'} |",
            flush=True,
        )
        axis.plot(*points.T.numpy(), ".", ms=1.5, color="#8a3324")
        axis.set(title=name, xlim=(-1, 1), ylim=(-1, 1), xticks=[], yticks=[])
        axis.set_aspect("equal")
    figure.savefig(IMAGES / "ring-of-eight.png", dpi=100)
    plt.close(figure)


def stacked(n: int) -> tuple[Split, Tensor, Tensor]:
    """n images with a random digit in each of three channels, a thousand modes; and the digits with their classes."""
    digits = Digits(Digits.Config()).load().train
    places = torch.randint(len(digits), (n, 3), generator=stream(0, "stacked"))
    assert digits.labels is not None
    return Split(digits.images[places][:, :, 0]), digits.images, digits.labels


def found_modes(made: Tensor, digits: Tensor, labels: Tensor) -> tuple[int, float]:
    """Triples of classes among images, each channel read as the class of its nearest real digit; and KL(made | even), nats."""
    channels = made.flatten(0, 1).flatten(1)
    near = torch.cdist(channels, to_float(digits).flatten(1)).argmin(1)
    number = (labels[near].view(-1, 3) * torch.tensor([100, 10, 1])).sum(1)
    share = torch.bincount(number, minlength=1000).double() / len(number)
    return int((share > 0).sum()), float(torch.xlogy(share, share * 1000).sum())


def show_stacked() -> None:
    """Games on a thousand modes."""
    data, digits, labels = stacked(20_000)
    spec = DataSpec(channels=3, size=8)
    rows = {
        "minimax": ("gan", {"game": "minimax", "penalties": []}),
        "non-saturating": ("gan", {"game": "non_saturating", "penalties": []}),
        "least squares": ("gan", {"game": "least_squares", "penalties": []}),
        "hinge, spectral norm": ("gan", {"game": "hinge", "penalties": ["spectral_norm"]}),
        "non-saturating, R1": ("gan", {"game": "non_saturating", "penalties": [{"kind": "zero_centred", "on": "real"}]}),
        "relativistic, R1 R2": ("gan", {}),
        "WGAN, clip": ("wgan", {"lipschitz": "clip"}),
        "WGAN, gradient penalty": ("wgan", {}),
    }  # fmt: skip
    real = found_modes(to_float(data.images[:10_000]), digits, labels)
    print("\n| stacked digits, 10,000 drawn | modes found of 1,000 | KL to even, nats | alarm |\n|---|---|---|---|")
    print(f"| (real ones) | {real[0]} | {real[1]:.2f} | |")
    figure, axes = plt.subplots(1, len(rows), figsize=(14, 2.2), layout="constrained")
    for axis, (name, (kind, settings)) in zip(axes, rows.items(), strict=True):
        network = {"kind": "dcgan", "normalised": False}
        family = make_family(
            find_family(kind).Config.model_validate({"kind": kind, "network": network} | settings), spec, 0
        )
        assert isinstance(family, Adversarial)
        Trainer(family, FREE, Budget(images=200_000, batch=64), seed=0).run(data)
        made = family.sample(10_000, rng=stream(0, "sample"))
        count, distance = found_modes(made, digits, labels)
        print(f"| {name} | {count} | {distance:.2f} | {family.alarm({}) or 'none'} |", flush=True)
        sheet = F.pad(made[:9], (1, 1, 1, 1), value=1.0).view(3, 3, 3, 10, 10).permute(0, 3, 1, 4, 2).reshape(30, 30, 3)
        axis.imshow((sheet + 1) / 2)
        axis.set(xticks=[], yticks=[])
        axis.set_title(name, fontsize=8)
    figure.savefig(IMAGES / "stacked-digits.png", dpi=100)
    plt.close(figure)


def show_estimates(pixels: Tensor | None = None) -> None:
    """A WGAN's critic against the exact W_1 of the same batch, along a training on digits (Stanczuk et al., 2021)."""
    data = Digits(Digits.Config()).load()
    family = make_family(find_family("wgan").Config(width=16), data.spec, 0)
    assert isinstance(family, Adversarial)
    real = to_float(data.train.images[:256])
    found: list[tuple[int, float, float]] = []

    def watch(ledger: Any, means: Any) -> None:
        with torch.no_grad():
            made = family.decode(family.latent(256, stream(0, "estimate")), Condition())
            estimate = float(family.score(real, Condition()).mean() - family.score(made, Condition()).mean())
        cost = ot.dist(real.flatten(1).double().numpy(), made.flatten(1).double().numpy(), "euclidean")
        weights = np.full(256, 1 / 256)
        found.append((ledger.images, estimate, float(ot.emd2(weights, weights, cost))))

    Trainer(family, FREE, Budget(images=60_000, batch=32), seed=0, watch=watch).run(data.train)
    floor = ot.dist(
        real.flatten(1).double().numpy(), to_float(data.train.images[256:512]).flatten(1).double().numpy(), "euclidean"
    )
    halves = float(ot.emd2(np.full(256, 1 / 256), np.full(256, 1 / 256), floor))
    images, estimates, exact = map(np.array, zip(*found, strict=True))
    figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
    axis.plot(images, exact, color="black", label="exact W1 of the batch")
    axis.plot(images, estimates, color="#8a3324", label="the critic's estimate")
    axis.axhline(halves, color="grey", ls=":", label="exact W1 of two batches of real images")
    axis.set(xlabel="images", ylabel="distance")
    axis.legend(frameon=False)
    figure.savefig(IMAGES / "wgan-estimate.png", dpi=110)
    plt.close(figure)
    late = slice(len(found) // 2, None)
    print("\n| second half of the training | mean |\n|---|---|")
    print(f"| exact W1 between 256 made and 256 real digits | {exact[late].mean():.2f} |")
    print(f"| the critic's estimate of it | {estimates[late].mean():.2f} |")
    print(f"| exact W1 between two sets of 256 real digits | {halves:.2f} |")
    print(f"| correlation of the two over the whole training | {np.corrcoef(estimates, exact)[0, 1]:.2f} |")


if __name__ == "__main__":
    show_dirac()
    show_ring()
    show_stacked()
    show_estimates()
