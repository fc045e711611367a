"""Distribution metrics on 2048-d features like pooled ReLUs: ours against the usual code, in one run on the same features.

    python -m benchmarks.distribution [--n 10000] [--few 1000] [--d 2048] [--rounds 1]

The peers are pytorch-fid, prdc and torch-fidelity where they can be imported, else the few lines that such code shares.
Smaller --n and --d are for a quick look; the targets are meant for the default sizes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import subprocess
import sys
import time
import warnings

import numpy as np
import torch
from scipy import linalg
from sklearn.metrics import pairwise_distances

from benchmarks.sides import alternate
from sfumato.maths.gaussians import frechet
from sfumato.maths.kernels import cubic_mmd
from sfumato.maths.moments import Moments
from sfumato.maths.neighbours import nearest, supported
from sfumato.streams import stream

K = 5
SUBSETS, SUBSET = 100, 1000
FINISH, FEW, SECONDS, KERNEL = 10, 20, 3, 5  # targets: how many times less time
MEMORY = 1500  # target: MiB at the peak of the supports
MIB = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes there and in KiB elsewhere


def features(n: int, d: int, name: str) -> torch.Tensor:
    """Not negative, few of them large, and correlated; made ones are a little off."""
    rng = stream(0, "bench", "distribution", name)
    scale = torch.logspace(0, -1.5, d) * (1.0 if name == "real" else 1.05)
    common = torch.randn(n, 8, generator=rng) @ torch.randn(8, d, generator=stream(0, "bench", "common")) / 3
    return (torch.randn(n, d, generator=rng) + common).abs() * scale


def peer_frechet(mean_1: np.ndarray, cov_1: np.ndarray, mean_2: np.ndarray, cov_2: np.ndarray) -> float:
    """pytorch-fid's finish: SciPy's root of the product."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy means to drop an argument that pytorch-fid gives
        with contextlib.suppress(ImportError):
            from pytorch_fid.fid_score import calculate_frechet_distance

            return float(calculate_frechet_distance(mean_1, cov_1, mean_2, cov_2))
        root = linalg.sqrtm(cov_1.dot(cov_2))
    if not np.isfinite(root).all():
        ridge = np.eye(len(cov_1)) * 1e-6
        root = linalg.sqrtm((cov_1 + ridge).dot(cov_2 + ridge))
    return float(((mean_1 - mean_2) ** 2).sum() + np.trace(cov_1) + np.trace(cov_2) - 2 * np.trace(root.real))


def peer_from_features(made: np.ndarray, real: np.ndarray) -> float:
    """pytorch-fid's way from features in float64, as it holds them."""
    sides = [part for x in (made, real) for part in (x.mean(0), np.cov(x, rowvar=False))]
    return peer_frechet(*sides)


def peer_support(real: np.ndarray, made: np.ndarray) -> list[float]:
    """Precision, recall, density and coverage with whole tables of distances."""
    with contextlib.suppress(ImportError):
        from prdc import compute_prdc

        with contextlib.redirect_stdout(io.StringIO()):
            return [float(value) for value in compute_prdc(real, made, K).values()]

    def radius(x: np.ndarray) -> np.ndarray:
        table = pairwise_distances(x)
        nearest_ones = np.argpartition(table, K + 1, axis=-1)[..., : K + 1]
        return np.take_along_axis(table, nearest_ones, axis=-1).max(axis=-1)

    around_real, around_made = radius(real), radius(made)
    table = pairwise_distances(real, made)
    held = table < around_real[:, None]
    return [
        float(held.any(0).mean()),
        float((table < around_made).any(1).mean()),
        float(held.sum(0).mean() / K),
        float((table.min(1) < around_real).mean()),
    ]


def our_support(real: torch.Tensor, made: torch.Tensor) -> list[float]:
    """The same four, as the metric `support` takes them with k = k_density."""
    around_real, around_made = (nearest(part, k=K).distance[:, -1] for part in (real, made))
    forth, back = supported(made, real, around_real, reverse=around_made)
    shares = (forth.covering > 0, back.covering > 0, forth.covering.double() / K, forth.reached)
    return [float(share.double().mean()) for share in shares]


def peer_kernel(made: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Mean and spread over random subsets, in the precision of the features."""
    size = min(SUBSET, len(made), len(real))
    with contextlib.suppress(ImportError):
        from torch_fidelity.metric_kid import kid_features_to_metric

        parts = torch.from_numpy(made), torch.from_numpy(real)
        found = kid_features_to_metric(*parts, kid_subsets=SUBSETS, kid_subset_size=size, verbose=False)
        return found["kernel_inception_distance_mean"], found["kernel_inception_distance_std"]
    rng, values = np.random.default_rng(0), []
    for _ in range(SUBSETS):
        x, y = (part[rng.choice(len(part), size, replace=False)] for part in (made, real))
        xx, yy, xy = ((a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
        within = (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (size * (size - 1))
        values.append(float(within - 2 * xy.sum() / size**2))
    return float(np.mean(values)), float(np.std(values))


def peak() -> float:
    """The most memory that this process ever held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def child(side: str, n: int, d: int) -> None:
    """One side of the supports, alone in this process."""
    real, made = features(n, d, "real"), features(n, d, "made")
    work = {
        "peer": lambda r, m: peer_support(r.numpy(), m.numpy()),
        "ours": our_support,
    }[side]
    work(real[:64], made[:64])  # imports and thread pools
    before, start = peak(), time.perf_counter()
    values = work(real, made)
    seconds = time.perf_counter() - start
    print(json.dumps({"values": values, "seconds": seconds, "peak": peak(), "growth": peak() - before}))


def show(what: str, peer: float, ours: float, target: float, more: str = "") -> None:
    print(
        f"{what:45} peer {peer:8.3f} s, ours {ours:8.3f} s, ratio {peer / ours:6.1f} (target {target}){more}",
        flush=True,
    )


def supports(n: int, d: int) -> None:
    """Each side in a process of its own, before this one has grown: a child's peak starts at its parent's."""
    found = {}
    for side in ("peer", "ours"):
        sizes = ["--n", str(n), "--d", str(d)]
        command = [sys.executable, "-m", "benchmarks.distribution", "--child", side, *sizes]
        found[side] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    peer, ours = found["peer"], found["ours"]
    differ = max(abs(a - b) for a, b in zip(peer["values"], ours["values"], strict=True))
    show(f"support, {n:,} x {n:,}", peer["seconds"], ours["seconds"], SECONDS, f", figures differ by {differ:.1e}")
    print(f"  peak of memory: peer {peer['peak']:,.0f} MiB, ours {ours['peak']:,.0f} MiB (target {MEMORY:,})")


def finish(n: int, d: int, rounds: int) -> None:
    """From statistics of at least d images to the number."""
    parts = [Moments.of(features(n, d, name)) for name in ("made", "real")]
    given = [Moments.given(part.mean, part.covariance, part.n) for part in parts]
    arrays = [array.numpy() for part in parts for array in (part.mean, part.covariance)]
    compare("FID from statistics", FINISH, rounds, lambda: peer_frechet(*arrays), lambda: frechet(*given))


def few(n: int, d: int, rounds: int) -> None:
    """From the features of fewer than d images to the number."""
    made, real = (features(n, d, name) for name in ("made", "real"))
    arrays = [part.double().numpy() for part in (made, real)]
    compare(
        f"FID from {n:,} features of {d} numbers",
        FEW,
        rounds,
        lambda: peer_from_features(*arrays),
        lambda: frechet(Moments.of(made), Moments.of(real)),
    )


def compare(what: str, target: float, rounds: int, peer, ours) -> None:
    answers = {}
    seconds = alternate(
        {"peer": lambda: answers.update(peer=peer()), "ours": lambda: answers.update(ours=ours())}, rounds, warmup=1
    )
    error = abs(answers["peer"] / answers["ours"] - 1)
    show(what, seconds["peer"], seconds["ours"], target, f", relative difference {error:.1e}")


def kernel(n: int, d: int, rounds: int) -> None:
    """All pairs against subsets."""
    made, real = (features(n, d, name) for name in ("made", "real"))
    arrays, answers = (made.numpy(), real.numpy()), {}
    sides = {
        "peer": lambda: answers.update(peer=peer_kernel(*arrays)),
        "ours": lambda: answers.update(ours=cubic_mmd(made, real)),
    }
    seconds = alternate(sides, rounds, warmup=0)
    (mean, spread), exact = answers["peer"], answers["ours"]
    show(f"KID, {n:,} x {n:,}, all pairs for subsets", seconds["peer"], seconds["ours"], KERNEL)
    drawn = f"{mean:.5g}, of which the drawing adds +- {spread / SUBSETS**0.5:.1g}"
    print(f"  peer {drawn}; ours {exact.value:.5g} with standard error {exact.error:.1g}")


def main() -> None:
    """Print seconds, ratios and targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000, help="images of each set")
    parser.add_argument("--few", type=int, default=1000, help="images of each set where there are fewer than features")
    parser.add_argument("--d", type=int, default=2048, help="numbers of a feature vector")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=["peer", "ours"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    n, d, rounds = options.n, options.d, options.rounds
    if options.child:
        child(options.child, n, d)
        return
    print(f"threads {torch.get_num_threads()}, features of {d} numbers", flush=True)
    supports(n, d)
    few(options.few, d, rounds)
    finish(n, d, rounds)
    for size in (n, n // 2):
        kernel(size, d, rounds)


if __name__ == "__main__":
    main()
