"""Out of distribution: whether a family finds images of other sets less likely than those that it was trained on."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float64
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.data.base import Source, Split
from sfumato.errors import CapabilityError, ConfigError
from sfumato.kinds import build, choice
from sfumato.maths.ranks import auroc, auroc_deviation
from sfumato.metrics.base import Score, mean_score
from sfumato.metrics.bits_per_dimension import bits
from sfumato.metrics.likelihood import LikelihoodMetric, log_probs


class OutOfDistribution(LikelihoodMetric):
    """For each other set its bits per dimension, and the share of pairs in which its image has more bits than a usual one.

    1 tells them apart, 0.5 not at all, and less finds the other set likelier than the one that was learnt, as densities of
    images often do with plain pictures.
    Reference: Nalisnick, Matsukawa, Teh, Gorur and Lakshminarayanan (2019), Do deep generative models know what they don't
    know?
    """

    class Config(Strict):
        kind: Literal["out_of_distribution"] = "out_of_distribution"
        sets: dict[str, Annotated[Any, choice(Source)]] = Field(default_factory=dict)
        """Names and sources of the other sets; their test images are taken, which must have the size of the study's."""
        images: int = Field(default=1_000, ge=2)
        """Of each set, the first ones."""

    unit: ClassVar[str] = "bits"

    @property
    def label(self) -> str:
        """AUROC."""
        return "AUROC"

    def worth(self, log_prob: Float64[Tensor, " N"], family: Any) -> tuple[Float64[Tensor, " N"], str]:
        return bits(log_prob, family.spec.dimensions), "bits per dimension"

    def measure_model(self, family: Any, split: Split, *, seed: int, batch: int) -> list[Score]:
        """Two figures for each set.

        Raises: CapabilityError: the family hears labels, which other sets have none of its own of.
        """
        if family.labelled:
            raise CapabilityError(
                "out_of_distribution: a model that hears labels rates no images of other sets; labels = false"
            )
        usual, scores = self._bits(family, split, seed, batch), list[Score]()
        for name, source in self.config.sets.items():
            other = build(source).load().test
            shapes = [" x ".join(map(str, part.read(slice(0, 1))[0].shape[1:])) for part in (other, split)]
            if shapes[0] != shapes[1]:
                raise ConfigError(
                    f"out_of_distribution: {name} has images of {shapes[0]} (channels, rows, columns), the study {shapes[1]}; "
                    "set shrink, size or channels of that source"
                )
            odd = self._bits(family, other, seed, batch)
            card = {"what": f"the first {len(odd):,} test images of {source.kind}", "exact": family.exact}
            scores.append(mean_score(f"bits/dim {name}", odd, "bits", card, "higher"))
            area = auroc(usual, odd)
            reach = 1.96 * auroc_deviation(area, len(usual), len(odd))
            card = {"what": f"pairs of which {name} has more bits", "interval": "Hanley and McNeil (1982)"}
            scores.append(
                Score(
                    label=f"AUROC {name}",
                    value=area,
                    low=max(area - reach, 0.0),
                    high=min(area + reach, 1.0),
                    n=len(odd),
                    better="higher",
                    span=(0.0, 1.0),
                    unit="share",
                    samples=[],
                    resampled="images",
                    card=card,
                )
            )
        return scores

    def _bits(self, family: Any, split: Split, seed: int, batch: int) -> Float64[Tensor, " n"]:
        found, count = list[Tensor](), 0
        for part in log_probs(family, split, seed, batch):
            found.append(part)
            count += len(part)
            if count >= self.config.images:
                break
        return self.worth(torch.cat(found)[: self.config.images], family)[0]
