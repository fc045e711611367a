"""Together: a batch whose images serve several tasks, so that each step of a joint training follows all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.data.pictures import Places
from sfumato.images import Images, Known
from sfumato.tasks.base import Observation, Observed


class Together(Observed):
    """Observations side by side: the first images of a batch by one task, the next ones by another.

    What networks and losses see has one shape for every task and is put together here; y and A differ and stay with `parts`.
    `weight` has mean 1 in each part, so that small holes count as much as whole pictures: the weighted mean over the batch is
    the mean of the tasks' own weighted means, each by its share of the images.

    Example:
        >>> from sfumato.streams import stream
        >>> from sfumato.tasks.colourisation import Colourisation
        >>> from sfumato.tasks.super_resolution import SuperResolution
        >>> tasks = Colourisation(Colourisation.Config()), SuperResolution(SuperResolution.Config(scale=2))
        >>> seen = Together([task.observe(torch.zeros(2, 3, 8, 8), stream(0, "mask")) for task in tasks])
        >>> len(seen), tuple(seen.image.shape), [tuple(part.y.shape) for part in seen.parts]
        (4, (4, 4, 8, 8), [(2, 1, 8, 8), (2, 3, 4, 4)])
    """

    def __init__(self, parts: Sequence[Observation]):
        self._parts = tuple(parts)
        self.weight = torch.cat([part.weight / part.weight.mean().clamp(min=1e-12) for part in parts])

    @property
    def parts(self) -> Sequence[Observation]:
        """The tasks' own."""
        return self._parts

    @cached_property
    def image(self) -> Float[Tensor, "B d H W"]:
        """cat(preview of y, known) of each part."""
        return torch.cat([part.image for part in self.parts])

    @cached_property
    def known(self) -> Known:
        """1 where a pixel is given exactly."""
        return torch.cat([part.known for part in self.parts])

    @property
    def empty(self) -> bool:
        """Whether nothing was measured of any image."""
        return all(part.empty for part in self.parts)

    def project(self, x: Images) -> Images:
        """Each image brought into agreement with what was measured of it exactly."""
        pieces = x.split([len(part) for part in self.parts])
        return torch.cat([part.project(piece) for part, piece in zip(self.parts, pieces, strict=True)])

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def pick(self, places: Places) -> Together:
        """The observations of some of the images, in the order asked for."""
        where = [(number, place) for number, part in enumerate(self.parts) for place in range(len(part))]
        wanted = [where[place] for place in torch.arange(len(where))[places].tolist()]
        runs = [(number, [place for _, place in run]) for number, run in groupby(wanted, key=lambda pair: pair[0])]
        return Together([self.parts[number].pick(torch.tensor(run)) for number, run in runs])

    def to(self, device: str | torch.device) -> Together:
        """The observations on another device."""
        return Together([part.to(device) for part in self.parts])
