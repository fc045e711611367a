"""A transformer over a sequence of codes: causal, or looking both ways."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sfumato.networks.layers import rounded


class Past:
    """Keys and values of what a causal block saw before."""

    def __init__(self) -> None:
        self.seen: tuple[Tensor, Tensor] | None = None

    def more(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All so far; many tokens may come at once only at the beginning."""
        if self.seen is not None:
            k, v = (torch.cat([old, new], 2) for old, new in zip(self.seen, (k, v), strict=True))
        self.seen = k, v
        return k, v


class Block(nn.Module):
    """x + attention(norm(x)), x + mlp(norm(x)); the norms are scaled and shifted by what is told, if anything is."""

    def __init__(self, width: int, heads: int, causal: bool, told: bool = True):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=not told) for _ in range(2))
        self.modulation = nn.Linear(width, 4 * width) if told else None
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        for layer in (self.proj, self.mlp[2], *([self.modulation] if self.modulation else [])):
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]

    def forward(
        self, x: Float[Tensor, "B n d"], told: Float[Tensor, "B d"] | None = None, past: Past | None = None
    ) -> Float[Tensor, "B n d"]:
        """Where `past` is given, x continues what went through before, which it keeps."""
        first, second = self.norms[0](x), None
        if self.modulation is not None and told is not None:
            a, b, *second = self.modulation(told)[:, None].chunk(4, 2)
            first = first * (1 + a) + b
        n, length, width = x.shape
        rows = self.qkv(first).view(n, length, 3, self.heads, -1)
        q, k, v = (part.transpose(1, 2) for part in rows.unbind(2))
        if past is not None:
            k, v = past.more(k, v)
        # one query sees all keys; many are causal only from the beginning
        h = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal and length > 1)
        x = x + self.proj(h.transpose(1, 2).reshape(n, length, width))
        h = self.norms[1](x)
        if second is not None:
            h = h * (1 + second[0]) + second[1]
        out: Tensor = x + self.mlp(h)
        return out


class Transformer(nn.Module):
    """Tokens [B, n] to logits [B, n, K]; each place is told where it is, and all what was observed and a vector.

    A causal one sees, at place i, the tokens 0 .. i. What was observed stands before the sequence, where every place sees it.
    """

    def __init__(
        self,
        tokens: int,
        outputs: int,
        length: int,
        width: float,
        depth: int,
        condition: int,
        observed: int,
        causal: bool,
    ):
        """`condition` numbers were observed at each of `observed` places; 0 where nothing ever is."""
        super().__init__()
        self.width = d = rounded(width, 32)
        self.token, self.place = (
            nn.Embedding(tokens, d),
            nn.Parameter(nn.init.normal_(torch.empty(length, d), std=0.02)),
        )
        self.look = nn.Linear(condition, d) if condition else None
        self.there = nn.Parameter(nn.init.normal_(torch.empty(observed, d), std=0.02)) if condition else None
        self.blocks = nn.ModuleList(Block(d, d // 32, causal) for _ in range(depth))
        self.exit = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, outputs))

    def forward(
        self, tokens: Int64[Tensor, "B n"], told: Float[Tensor, "B d"], seen: Float[Tensor, "B m c"] | None = None
    ) -> Float[Tensor, "B n K"]:
        h = self.token(tokens) + self.place[: tokens.shape[1]]
        before = 0
        if self.look is not None and self.there is not None and seen is not None:
            h, before = torch.cat([self.look(seen) + self.there, h], 1), seen.shape[1]
        for block in self.blocks:
            h = block(h, told)
        out: Tensor = self.exit(h[:, before:])
        return out
