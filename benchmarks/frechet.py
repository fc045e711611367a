"""Frechet distance of two 2048-d Gaussians: ours against SciPy's `sqrtm`, the route of most FID code.

python -m benchmarks.frechet
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import linalg

from benchmarks.sides import alternate
from sfumato.maths.gaussians import frechet_distance
from sfumato.maths.moments import Moments
from sfumato.streams import stream


def moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    found = Moments.of(x)
    return found.mean, found.covariance


def peer(mean_1, cov_1, mean_2, cov_2) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 sqrtm(C1 C2)), the usual few lines."""
    root = linalg.sqrtm(cov_1 @ cov_2)
    return float(((mean_1 - mean_2) ** 2).sum() + np.trace(cov_1 + cov_2 - 2 * np.real(root)))


def main() -> None:
    """Print seconds, the ratio, the relative error, and the error on singular covariances with a known answer."""
    d, n = 2048, 4096
    rng = stream(0, "bench", "frechet")
    scale = torch.linspace(0.1, 2.0, d, dtype=torch.float64)
    first = moments(torch.randn(n, d, generator=rng, dtype=torch.float64) * scale)
    second = moments(torch.randn(n, d, generator=rng, dtype=torch.float64) * scale.flip(0) + 0.1)
    arrays = [part.numpy() for part in (*first, *second)]
    answers = {}
    seconds = alternate(
        {
            "scipy": lambda: answers.update(scipy=peer(*arrays)),
            "ours": lambda: answers.update(ours=frechet_distance(*first, *second)),
        },
        rounds=3,
        warmup=1,
    )
    error = abs(answers["ours"] / answers["scipy"] - 1)
    print(
        f"scipy.linalg.sqrtm {seconds['scipy']:.2f} s, ours {seconds['ours']:.2f} s, threads {torch.get_num_threads()}"
    )
    print(f"ratio {seconds['scipy'] / seconds['ours']:.1f} (target 10), relative difference {error:.1e} (target 1e-6)")
    half = torch.zeros(d, dtype=torch.float64)
    half[: d // 2] = 1.0
    mean = torch.zeros(d, dtype=torch.float64)
    exact = float(d // 2 * (2.0 - 1.0) ** 2)  # diagonal covariances: the sum of (sd1 - sd2)^2
    mine = frechet_distance(mean, torch.diag(half), mean, torch.diag(4 * half))
    print(f"singular covariances: {mine} against {exact}, relative error {abs(mine / exact - 1):.1e}")


if __name__ == "__main__":
    main()
