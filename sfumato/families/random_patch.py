"""Random patches: pieces of a picture, laid side by side without a look at one another."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor

from sfumato.families.texture import Texture, TextureConfig, Wish
from sfumato.images import Images
from sfumato.maths.patches import whole
from sfumato.maths.rectangles import patch_side


def laid(patches: Float[Tensor, "n C s s"], columns: int) -> Float[Tensor, "C H W"]:
    """Patches as tiles, row by row, so many in a row.

    Example:
        >>> laid(torch.arange(4.0).view(4, 1, 1, 1), 2).tolist()
        [[[0.0, 1.0], [2.0, 3.0]]]
    """
    C, s = patches.shape[1:3]
    grid = patches.view(-1, columns, C, s, s).permute(2, 0, 3, 1, 4)
    return grid.reshape(C, -1, columns * s)


class RandomPatch(Texture):
    """x(p + i s) = u(p + o_i): each s x s tile i is the patch at a place o_i, uniform on those where all counts.

    The trivial baseline: within a patch the texture is right, and the seams say what the placing of patches is worth. A
    picture that has to meet itself has there seams like all the others.
    Reference: the first of the three columns in Efros and Freeman (2001), Image quilting for texture synthesis and transfer.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = RandomPatch(RandomPatch.Config(), DataSpec(channels=1, size=(16, 16)))
        >>> _ = model.known.fill_(1.0)
        >>> tuple(model.sample(1, size=(21, 30), rng=stream(0, "sample")).shape)
        (1, 1, 21, 30)
    """

    class Config(TextureConfig):
        kind: Literal["random_patch"] = "random_patch"
        patch: int | None = Field(default=None, ge=1, le=1024)
        """Rows and columns of a patch; left out: a quarter of the exemplar, 3 to 32. At most the largest square that counts."""

    random = False
    wraps = True

    def make(self, wish: Wish, rng: Generator) -> Images:
        """All tiles at once, the last ones cut."""
        side = patch_side(self.known, self.config.patch)
        rows, columns = (-(-length // side) for length in wish.size)
        places = whole(self.known, side).nonzero()
        k, top, left = places[torch.randint(len(places), (rows * columns,), generator=rng, device=rng.device)].T
        windows = self.exemplars.unfold(2, side, 1).unfold(3, side, 1)
        picture = laid(windows[k, :, top, left], columns)
        wish.watch(1.0)
        return picture[None, :, : wish.size[0], : wish.size[1]]
