"""Autoregressive layers over patches: a causal transformer says how each patch is moved by those before it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.networks.condition import Condition
from sfumato.networks.invertible import Invertible, LogDet
from sfumato.networks.layers import Maps, rounded
from sfumato.networks.transformations import Affine
from sfumato.networks.transformer import Block, Past

Tokens = Float[Tensor, "B n d"]


class Autoregressive(Invertible):
    """y_i = exp(s_i) x_i + t_i, (s_i, t_i) said of x_1 .. x_(i-1), in one order of the patches or the other.

    The first is moved by numbers that are said of nothing. What was observed stands before all patches, as patches of its own.
    One way all patches go through at once, the other one after the other.
    Reference: Zhai et al. (2024), Normalizing flows are capable generative models.
    """

    def __init__(
        self,
        channels: int,
        length: int,
        width: float,
        depth: int,
        transformation: Affine,
        *,
        backwards: bool = False,
        seen: int = 0,
        classes: int = 0,
    ):
        """`seen`: numbers of what was observed in each patch, 0 where nothing ever is."""
        super().__init__()
        d = rounded(width, 1)
        heads = max(d // 32, 1)
        while d % heads:
            heads -= 1
        self.transformation, self.backwards, self.seen = transformation, backwards, seen
        self.enter, self.exit = nn.Linear(channels, d), nn.Linear(d, transformation.outputs * channels)
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)
        self.begin, self.place = (nn.Parameter(nn.init.normal_(torch.empty(n, d), std=0.02)) for n in (1, length - 1))
        self.look = nn.Linear(seen, d) if seen else None
        self.there = nn.Parameter(nn.init.normal_(torch.empty(length, d), std=0.02)) if seen else None
        self.label = nn.Embedding(classes, d) if classes else None
        self.blocks = nn.ModuleList(Block(d, heads, causal=True, told=False) for _ in range(depth))
        self.norm = nn.LayerNorm(d)

    def _tokens(self, x: Maps) -> Tokens:
        tokens = x.flatten(2).transpose(1, 2)
        return tokens.flip(1) if self.backwards else tokens

    def _maps(self, tokens: Tokens, like: Maps) -> Maps:
        tokens = tokens.flip(1) if self.backwards else tokens
        return tokens.transpose(1, 2).reshape(like.shape)

    def _before(self, n: int, told: Condition) -> Tokens:
        """What stands before the first patch: what was observed, and the label."""
        begin = self.begin.expand(n, 1, -1)
        if self.label is not None and told.label is not None:
            begin = begin + self.label(told.label)[:, None]
        if self.look is None or self.there is None or told.image is None:
            return begin
        return torch.cat([self.look(told.image.flatten(2).transpose(1, 2)) + self.there, begin], 1)

    def _said(self, h: Tokens) -> Maps:
        """[B, outputs * channels, n, 1]: what is said of each patch."""
        said: Tensor = self.exit(self.norm(h))
        return said.transpose(1, 2)[..., None]

    def forward(self, x: Maps, told: Condition) -> tuple[Maps, LogDet]:
        tokens = self._tokens(x)
        before = self._before(len(x), told)
        h = torch.cat([before, self.enter(tokens[:, :-1]) + self.place], 1)
        for block in self.blocks:
            h = block(h)
        said = self._said(h[:, before.shape[1] - 1 :])
        y, each = self.transformation.forward(tokens.transpose(1, 2)[..., None], said)
        return self._maps(y[..., 0].transpose(1, 2), x), each.flatten(1).sum(1)

    def inverse(self, y: Maps, told: Condition) -> Maps:
        tokens = self._tokens(y)
        h = self._before(len(y), told)
        pasts, found = [Past() for _ in self.blocks], list[Tensor]()
        for i in range(tokens.shape[1]):
            for block, past in zip(self.blocks, pasts, strict=True):
                h = block(h, None, past)
            one = self.transformation.inverse(tokens[:, i, :, None, None], self._said(h[:, -1:]))
            found.append(one[:, :, 0, 0])
            if i + 1 < tokens.shape[1]:
                h = (self.enter(found[-1]) + self.place[i])[:, None]
        return self._maps(torch.stack(found, 1), y)
