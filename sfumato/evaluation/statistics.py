"""Statistics: the mean and covariance of a reference, made once and shared; and those that other tools wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from sfumato.errors import CapabilityError, WeightsError
from sfumato.features import Features
from sfumato.files import write_atomic
from sfumato.maths.moments import Moments
from sfumato.metrics.distribution import Sample

FORMAT, LARGEST = "sfumato statistics 1", 1e15


def save_statistics(sample: Sample, features: Features, path: Path) -> None:
    """Write a sample: .safetensors holds mean, covariance, the vectors where they are known and the whole card; .npz
    holds `mu` and `sigma` as pytorch-fid writes them.

    Raises: WeightsError: another ending. DataError: the file cannot be written.
    """
    if path.suffix == ".npz":
        if not features.graph_2015:
            raise CapabilityError(
                f"other tools take an .npz for the 2015 Inception graph's, and {features.label} is not; write .safetensors"
            )
        import io

        buffer = io.BytesIO()
        np.savez(buffer, mu=sample.moments.mean.cpu().numpy(), sigma=sample.moments.covariance.cpu().numpy())
        write_atomic(path, buffer.getvalue())
        return
    if path.suffix != ".safetensors":
        raise WeightsError(f"statistics are written to .safetensors or, for other tools, .npz; {path} is neither")
    tensors = {"mean": sample.moments.mean.cpu(), "covariance": sample.moments.covariance.cpu()}
    if sample.vectors is not None:
        tensors["vectors"] = sample.vectors.cpu().contiguous()
    told = {"features": features.about(), "about": sample.about}
    metadata = {"format": FORMAT, "n": str(sample.n), "told": json.dumps(told)}
    write_atomic(path, safetensors.torch.save(tensors, metadata=metadata))


def load_statistics(path: Path, features: Features) -> Sample:
    """Read statistics, our own or another tool's.

    Raises: WeightsError: no such file, damaged, of another extractor, or of another dimension.
    """
    if not path.is_file():
        raise WeightsError(f"no statistics at {path}; make them with `sfumato stats IMAGES --out {path}`")
    return foreign(path, features) if path.suffix == ".npz" else own(path, features)


def own(path: Path, features: Features) -> Sample:
    """Read what `save_statistics` wrote.

    Raises: WeightsError: damaged, or made with features of another hash, layer, size or resize.
    """
    again = "make them again with `sfumato stats`"
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dictionary
        told: dict[str, Any] = json.loads(metadata["told"])
        had, about = dict(told["features"]), dict(told["about"])
        about = {"name": path.name, "n": int(metadata["n"]), **about}
        if not all(isinstance(line, str) for line in [about["name"], *about.get("warnings", [])]):
            raise TypeError("what it says of its images is no text")
        mean, covariance, n = tensors["mean"], tensors["covariance"], int(metadata["n"])
        vectors = tensors.get("vectors")
        if n < 2 or (vectors is not None and len(vectors) != n):
            raise ValueError(f"{n} images")
        if not all(part.is_floating_point() for part in (mean, covariance, vectors) if part is not None):
            raise TypeError("tensors that are no floating-point numbers")
        if not all(bool(part.isfinite().all()) for part in (mean, covariance, vectors) if part is not None):
            raise ValueError("numbers that are not finite")
        if float(max(part.abs().max() for part in (mean, covariance, vectors) if part is not None)) > LARGEST:
            raise ValueError("numbers beyond any feature")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} holds no statistics ({type(error).__name__}: {error}); {again}") from None
    wrong = [key for key, value in features.about().items() if had.get(key) != value]
    if wrong:
        key = "sha256" if "sha256" in wrong else wrong[0]
        cut = 12 if key == "sha256" else None
        was, want = str(had.get(key))[:cut], str(features.about()[key])[:cut]
        raise WeightsError(f"{path} was made with other features ({key} {was}, not {want}); use those, or {again}")
    moments = Moments.of(vectors) if vectors is not None else gaussian(mean, covariance, n, path)
    return Sample(vectors, moments, {**about, "statistics": str(path)})


def gaussian(mean: Tensor, covariance: Tensor, n: int, path: Path) -> Moments:
    """Moments that someone else computed.

    Raises: WeightsError: not symmetric, or with a variance below 0 along some direction.
    """
    moments = Moments.given(mean, covariance, n)
    c = covariance.double()
    scale = float(c.diagonal().abs().max())
    if float((c - c.T).abs().max()) > 1e-6 * scale or float(torch.linalg.eigvalsh(c)[0]) < -1e-6 * scale:
        raise WeightsError(
            f"{path} holds no covariance: it is not symmetric, or negative along a direction; make it again"
        )
    return moments


def foreign(path: Path, features: Features) -> Sample:
    """Read `mu` and `sigma` as pytorch-fid and clean-fid write them; which images and weights they rest on nobody knows.

    Raises: WeightsError: damaged, without these keys, or of another dimension. CapabilityError: the features are not
    those of the 2015 Inception graph, on which alone such files are made.
    """
    if not features.graph_2015:
        name = features.label.removeprefix("FD-")
        raise CapabilityError(f"{path} holds statistics of the 2015 Inception graph; {name} features do not fit them")
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            mean, covariance = torch.from_numpy(archive["mu"]), torch.from_numpy(archive["sigma"])
    except Exception as error:  # zip, zlib and NumPy each have their own errors for a broken file
        raise WeightsError(
            f"{path} has no readable mu and sigma ({type(error).__name__}: {error}); bring it again"
        ) from None
    if mean.shape != (features.dim,) or covariance.shape != (features.dim, features.dim):
        shapes = f"mu {tuple(mean.shape)} and sigma {tuple(covariance.shape)}"
        raise WeightsError(f"{path} has {shapes}; these features have {features.dim} dimensions")
    warning = f"{path.name} does not say its images, their number, its weights or its resize; they are taken on trust"
    about = {"name": str(path), "n": "not said", "split": "not said", "format": "npz statistics", "warnings": [warning]}
    return Sample(None, gaussian(mean, covariance, 0, path), about)


def is_statistics(path: Path) -> bool:
    """Whether a file holds statistics rather than images."""
    if path.suffix == ".safetensors":
        return True
    if path.suffix != ".npz":
        return False
    try:
        with path.open("rb") as file:
            return {"mu", "sigma"} <= set(np.load(file, allow_pickle=False).files)
    except Exception:  # a broken file is said to be so by whoever reads it
        return False
