"""A codebook: the nearest of K unit vectors takes the place of each vector of a map; the book follows by running means."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Generator, Tensor, nn

from sfumato.maths.clusters import k_means
from sfumato.networks.layers import Maps


class Quantized(NamedTuple):
    """What a codebook made of a map."""

    maps: Maps
    """The codes in place of the vectors; the gradient passes as if nothing had happened."""
    codes: Int64[Tensor, "B h w"]
    commitment: Float[Tensor, ""]
    """Mean squared distance of the vectors from their codes, for the encoder's loss."""


class Quantizer(nn.Module):
    """q(v) = argmax_k <v / |v|, e_k>, |e_k| = 1; e_k follows the mean of its vectors, forgotten at `decay`.

    A code whose running count falls below `revive` is replaced by a vector of the batch. Statistics are gathered by
    `forward` while training and take effect in `settle`, summed over micro-batches and processes.
    Reference: van den Oord, Vinyals and Kavukcuoglu (2017), Neural discrete representation learning, appendix A; Yu et al.
    (2022), Vector-quantized image modeling with improved VQGAN, for unit vectors.
    """

    book: Tensor
    counts: Tensor
    sums: Tensor
    new_counts: Tensor
    new_sums: Tensor
    spare: Tensor

    def __init__(self, codes: int, channels: int, decay: float = 0.99, revive: float = 0.1):
        super().__init__()
        self.codes, self.channels, self.decay, self.revive = codes, channels, decay, revive
        self.register_buffer("book", torch.zeros(codes, channels))
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", torch.zeros(codes, channels))
        self.register_buffer("new_counts", torch.zeros(codes))
        self.register_buffer("new_sums", torch.zeros(codes, channels))
        self.register_buffer("spare", torch.zeros(codes, channels))
        self.start(nn.init.normal_(torch.empty(codes, channels)))

    def start(self, book: Float[Tensor, "K d"]) -> None:
        """Begin with these codes."""
        self.book.copy_(F.normalize(book, dim=1))
        self.counts.fill_(1.0)
        self.sums.copy_(self.book)

    def begin(self, vectors: Float[Tensor, "n d"], rng: Generator) -> None:
        """Begin with the means of clusters of unit vectors; codes for which there are too few vectors stay where they are."""
        count = min(self.codes, len(vectors))
        found = k_means(F.normalize(vectors, dim=1), count, rng)
        self.start(torch.cat([found, self.book[count:]]))

    def forward(self, maps: Maps) -> Quantized:
        """[B, d, h, w] to the same of codes."""
        with torch.autocast(maps.device.type, enabled=False):  # the running sums are float32
            unit = F.normalize(maps.float(), dim=1)
            rows = unit.permute(0, 2, 3, 1).flatten(0, 2)
            codes = (rows.detach() @ self.book.T).argmax(1)
            if self.training:
                self._gather(rows.detach(), codes)
            found = self.look_up(codes.view(len(maps), *maps.shape[2:]))
            commitment = (unit - found).square().mean()
        return Quantized(unit + (found - unit).detach(), codes.view(len(maps), *maps.shape[2:]), commitment)

    def look_up(self, codes: Int64[Tensor, "B h w"]) -> Maps:
        """The vectors of codes."""
        return self.book[codes].permute(0, 3, 1, 2)

    @torch.no_grad()
    def _gather(self, rows: Float[Tensor, "n d"], codes: Int64[Tensor, " n"]) -> None:
        self.new_counts += torch.bincount(codes, minlength=self.codes)
        self.new_sums.index_add_(0, codes, rows)
        step = max(len(rows) // self.codes, 1)
        some = rows[::step][: self.codes]  # evenly over the batch
        self.spare[: len(some)] = some

    @torch.no_grad()
    def settle(self) -> None:
        """Move the book by what was gathered since the last call, and give dead codes a new place."""
        counts, sums = _over_processes(self.new_counts), _over_processes(self.new_sums)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        self.book.copy_(F.normalize(self.sums, dim=1))
        dead = self.counts < self.revive
        self.book.copy_(torch.where(dead[:, None], _of_the_first(self.spare), self.book))
        self.sums.copy_(torch.where(dead[:, None], self.book, self.sums))
        self.counts.copy_(torch.where(dead, torch.ones_like(self.counts), self.counts))
        for part in (self.new_counts, self.new_sums):
            part.zero_()


def _over_processes(part: Tensor) -> Tensor:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        part = part.clone()
        torch.distributed.all_reduce(part)
    return part


def _of_the_first(part: Tensor) -> Tensor:
    """The same vectors in every process, or the books would part."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        part = part.clone()
        torch.distributed.broadcast(part, 0)
    return part


def perplexity(counts: Float[Tensor, " K"]) -> float:
    """exp of the entropy of how often codes are used: K where all are used alike, 1 where one is.

    Example:
        >>> round(perplexity(torch.tensor([5.0, 5.0, 0.0])), 6)
        2.0
    """
    share = counts.double() / counts.sum().clamp(min=1)
    return float((-(share * share.clamp(min=1e-30).log()).sum()).exp())
