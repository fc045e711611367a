"""What feature networks share: weight files checked before they are read, pixels made RGB, arithmetic kept exact."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import ShapeError, WeightsError
from sfumato.files import at_home
from sfumato.images import Pixels


def read_weights(path: Path, digest: str, bring: str) -> dict[str, Any]:
    """The tensors of the weight file with this SHA-256; not a byte is unpickled before that is known.

    Raises: WeightsError: no such file, or another content; the message ends with `bring`, how to get the right one.
    """
    try:
        content = at_home(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"no weights at {path} ({error.strerror}); {bring}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        hashes = f"SHA-256 {found[:8]}..., not {digest[:8]}..."
        raise WeightsError(f"{path} ({len(content):,} bytes) has {hashes}: truncated or another file; {bring}")
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def rgb(pixels: Pixels) -> Float[Tensor, "B 3 H W"]:
    """Pixels as float32 from 0 to 255, grey repeated to three channels.

    Raises: ShapeError: not uint8 [B, 1 or 3, H, W], or no rows or columns.
    """
    shape = tuple(pixels.shape)
    if pixels.dtype != torch.uint8 or len(shape) != 4 or shape[1] not in (1, 3) or 0 in shape[2:]:
        wanted = "features take uint8 pixels B x C x H x W with C = 1 or 3"
        raise ShapeError(f"{wanted}; got {pixels.dtype} of shape {shape}; see sfumato.images.to_uint8")
    return pixels.to(torch.float32).expand(-1, 3, -1, -1)
