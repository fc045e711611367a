"""Push-pull: values that are known here and there, carried smoothly to everywhere else."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def push_pull(values: Float[Tensor, "B C H W"], known: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H W"]:
    """The values where `known` is 1, and from there outwards means of what is near, ever coarser with the distance.

    Pull: weighted means over blocks of 2 x 2, until one pixel is left. Push: each level fills its gaps from the coarser one.
    Reference: Gortler, Grzeszczuk, Szeliski and Cohen (1996), The lumigraph.

    Example:
        >>> values = torch.zeros(1, 1, 1, 8)
        >>> values[..., 0], values[..., 7] = 2.0, 4.0
        >>> known = (values > 0).float()
        >>> [round(float(v), 1) for v in push_pull(values, known).flatten()]
        [2.0, 2.1, 2.4, 2.8, 3.2, 3.6, 3.9, 4.0]
    """
    if min(known.shape[2:]) == 1 and max(known.shape[2:]) == 1:
        return values * known
    odd = (0, known.shape[3] % 2, 0, known.shape[2] % 2)
    weight, total = F.pad(known, odd), F.pad(values * known, odd)
    share = F.avg_pool2d(weight, 2)
    mean = F.avg_pool2d(total, 2) / share.clamp(min=1e-6)
    coarse = push_pull(mean, (share > 0).float())
    rows, columns = weight.shape[2:]
    smooth = F.interpolate(coarse, (rows, columns), mode="bilinear", align_corners=False)
    smooth = smooth[:, :, : known.shape[2], : known.shape[3]]
    return torch.where(known > 0, values, smooth)
