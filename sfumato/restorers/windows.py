"""Windows: a hole in a large picture, filled by a model that knows one small size."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, UInt8
from torch import Tensor

from sfumato.errors import CapabilityError
from sfumato.images import Size

MOST = 0.6  # share of a window that may be unknown; what is left is filled in later windows, from what was made
LIMIT = 0.9  # share beyond which a window tells a model next to nothing


def fill_by_windows(
    pixels: UInt8[Tensor, "C H W"],
    hole: Bool[Tensor, "H W"],
    size: Size,
    answer: Callable[[UInt8[Tensor, "C h w"], Bool[Tensor, "h w"], int], UInt8[Tensor, "C h w"]],
) -> tuple[UInt8[Tensor, "C H W"], int]:
    """The picture with its hole made, window by window, and how many it took.

    Each window is where most is missing among those that still show enough, and what it made is known to the next ones: a
    large hole is filled from its rim. `answer` makes the unknown part of one window, told its number.

    Raises: CapabilityError: the hole is so large that some window would show nothing.
    """
    made, left, windows = pixels.clone(), hole.clone(), 0
    rows, columns = size
    share = F.avg_pool2d(left.float()[None, None], (rows, columns), stride=1)[0, 0]
    while bool(left.any()):
        enough = torch.where(share <= MOST, share, 0.0)
        best = int(enough.argmax())
        if float(enough.flatten()[best]) == 0:
            touched = torch.where(share > 0, share, 2.0)
            best = int(touched.argmin())
            if float(touched.flatten()[best]) > LIMIT:
                raise CapabilityError(
                    f"the hole is far larger than what this model sees at once, {columns} x {rows}; make the picture "
                    "smaller, train on larger images, or use a classical restorer (telea, biharmonic ...)"
                )
        top, first = divmod(best, share.shape[1])
        place = slice(top, top + rows), slice(first, first + columns)
        made[:, *place] = torch.where(left[place], answer(made[:, *place], left[place], windows), made[:, *place])
        left[place] = False
        # Only windows that touch this one have another share now.
        near = slice(max(top - rows + 1, 0), top + rows), slice(max(first - columns + 1, 0), first + columns)
        around = left[near[0].start : top + 2 * rows - 1, near[1].start : first + 2 * columns - 1]
        share[near] = F.avg_pool2d(around.float()[None, None], (rows, columns), stride=1)[0, 0]
        windows += 1
    return made, windows
