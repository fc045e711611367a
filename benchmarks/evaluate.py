"""FID of a folder of PNG files against statistics, end to end: `sfumato evaluate` against pytorch-fid, same network weights.

python -m benchmarks.evaluate --n 10000

Both read, decode, resize, extract, accumulate and take the distance, with pytorch-fid's defaults (batch 50, its own
number of workers) and with ours (features cached: no; no interval; pytorch-fid's resize). The weights are random, which
costs the same time as the real ones. Needs `pip install pytorch-fid`, whose torchvision must fit the torch here.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sfumato.evaluation.evaluate import measure
from sfumato.evaluation.request import Request
from sfumato.features import inception
from sfumato.features.graph_2015 import InceptionV3
from sfumato.metrics.frechet import Frechet
from sfumato.streams import lent, stream


def weights(path: Path) -> None:
    """Random weights of the 2015 graph with features of lively size, in the file's own names."""
    with lent(stream(0, "bench", "weights")):
        network = InceptionV3()
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
    torch.save(network.state_dict(), path)
    inception.DIGEST = hashlib.sha256(path.read_bytes()).hexdigest()


def pictures(folder: Path, n: int, size: int) -> None:
    """Smooth random RGB pictures as PNG files."""
    folder.mkdir()
    for i in range(n):
        coarse = torch.rand(1, 3, 5, 5, generator=stream(0, "bench", "picture", i))
        fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
        Image.fromarray((fine[0].permute(1, 2, 0) * 255).byte().numpy()).save(folder / f"{i:05d}.png")


def main() -> None:
    """Print seconds of both, the ratio and the relative difference of the two figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=32)
    options = parser.parse_args()
    from pytorch_fid import fid_score
    from pytorch_fid import inception as theirs

    with tempfile.TemporaryDirectory() as place:
        folder, path, statistics = Path(place) / "made", Path(place) / inception.FILE, Path(place) / "real.npz"
        pictures(folder, options.n, options.size)
        weights(path)
        rng = np.random.default_rng(0)
        basis = rng.normal(size=(4096, 2048)) * 0.1
        np.savez(statistics, mu=np.full(2048, 0.5), sigma=basis.T @ basis / 4096)

        start = time.perf_counter()
        request = Request(
            made=str(folder),
            real=str(statistics),
            features=inception.Inception.Config(path=path, resize="pytorch"),
            metrics=[Frechet.Config(replicates=0, context=False)],
        )
        ours = measure(request, cache=False).evaluation.scores[0].value
        seconds = time.perf_counter() - start

        theirs.load_state_dict_from_url = lambda *_args, **_kwargs: torch.load(path, weights_only=True)
        start = time.perf_counter()
        figure = fid_score.calculate_fid_given_paths([str(folder), str(statistics)], 50, "cpu", 2048, 2)
        peer = time.perf_counter() - start
    print(f"{options.n:,} PNG files of {options.size} x {options.size}, {torch.get_num_threads()} threads")
    print(f"pytorch-fid {peer:.1f} s, sfumato {seconds:.1f} s, ratio {peer / seconds:.2f} (target 1.5)")
    print(f"figures {figure:.6f} and {ours:.6f}, relative difference {abs(ours / figure - 1):.1e}")


if __name__ == "__main__":
    main()
