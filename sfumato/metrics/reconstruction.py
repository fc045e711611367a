"""Reconstructions: what an autoencoder keeps of test images; the floor under its samples, since no prior repairs a decoder."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch

from sfumato.data.base import Split
from sfumato.errors import ShapeError
from sfumato.families.abilities import Decodes, Encodes
from sfumato.families.base import Family
from sfumato.images import PEAK, Pixels, to_float, to_uint8
from sfumato.metrics.base import Metric, Score, mean_score
from sfumato.metrics.distribution import DistributionConfig, Sample
from sfumato.metrics.frechet import Frechet
from sfumato.tasks.base import Observation


class Reconstruction(Metric):
    """The Frechet distance (rFD) and PSNR (rPSNR) of D(E(x)) to the test images x themselves.

    Beside the FD of samples a reader sees which part of an autoencoder loses quality: the decoder, or the law of its codes.
    """

    class Config(DistributionConfig):
        kind: Literal["reconstruction"] = "reconstruction"

    config: Config
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    paired: ClassVar[bool] = False
    unit: ClassVar[str] = "squared feature units"
    needs: ClassVar[type | None] = Encodes

    def __init__(self, config: Config):
        super().__init__(config)
        self._frechet = Frechet(Frechet.Config(features=config.features, context=False))

    @property
    def label(self) -> str:
        """rFD-<features>."""
        return f"r{self._frechet.label}"

    def prepare(self, device: torch.device) -> None:
        self._frechet.prepare(device)

    def update(self, made: Pixels, true: Pixels, observation: Observation) -> None:
        """Made images tell nothing about reconstructions."""

    def compute(self) -> Score:
        """Raises: ShapeError: always; this figure is of a family, not of images."""
        raise ShapeError("reconstructions are measured on a family, not on images; nothing was taken in")

    def applies(self, observation: Observation) -> bool:
        return False

    def measure_model(self, family: Any, split: Split, *, seed: int, batch: int) -> list[Score]:
        """Both figures, over the images of a part."""
        if not (isinstance(family, Family) and isinstance(family, Encodes) and isinstance(family, Decodes)):
            return []
        made, real, psnr = [], [], []
        for first in range(0, len(split), batch):
            pixels, labels, _ = split.read(slice(first, first + batch))
            pixels = pixels.to(family.device)
            told = labels.to(family.device) if labels is not None and family.labelled else None
            condition = family.condition(None, told)
            with torch.no_grad():
                again = to_uint8(family.decode(family.encode(to_float(pixels), condition), condition))
            error = (again.double() - pixels.double()).square().flatten(1).mean(1)
            psnr.append(10 * torch.log10(PEAK**2 / error.clamp(min=1e-3)))
            features = self._frechet.features
            made.append(features(again).cpu())
            real.append(features(pixels).cpu())
        n = {"n": sum(len(part) for part in made)}
        samples = Sample.of(torch.cat(made), n), Sample.of(torch.cat(real), {"name": "the test images", **n}, True)
        (score,) = self._frechet.judge(*samples)
        card = {
            "what": "peak signal-to-noise ratio of reconstructions of test images",
            "interval": "Student, over images",
        }
        told_of = {**score.card, "what": f"of reconstructions of the test images: {score.card['what']}"}
        return [
            score.model_copy(update={"label": self.label, "card": told_of}),
            mean_score("rPSNR", torch.cat(psnr).cpu(), "dB", card, "higher"),
        ]
