"""VQ-VAE and VQ-VAE-2 (van den Oord et al., 2017; Razavi et al., 2019): images as one or two levels of codes, and a prior.

First encoder, codebooks and decoder are trained; then a prior over the codes of images, which is told an observation and a
label like every family. The prior is a slot: autoregressive, or absorbing discrete diffusion.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Int64
from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.families.abilities import Decodes, Encodes
from sfumato.families.base import Batch, Family, Objective, Pass, Player, Stage, Terms, weights
from sfumato.families.code_priors import Autoregressive, CodePrior
from sfumato.families.optimizers import AdamW, Optimizer
from sfumato.images import Images, Size
from sfumato.kinds import build, choice
from sfumato.networks.condition import NOTHING, Condition
from sfumato.networks.quantizer import Quantizer, perplexity
from sfumato.networks.vq import Coder, grids
from sfumato.streams import Rngs, stream

CODER, PRIOR = "coder", "prior"
ENOUGH = 16  # vectors a code that a k-means start looks at
COLLAPSED = 0.05  # perplexity over the number of codes, below which nearly all of a book lies idle


class VQVAE(Family, Decodes, Encodes):
    """|x - D(codes)|^2 + commitment |E(x) - codes|^2, codes the nearest unit vectors; then -log p(codes | y).

    Reference: van den Oord, Vinyals and Kavukcuoglu (2017), Neural discrete representation learning; Razavi, van den Oord and
    Vinyals (2019), Generating diverse high-fidelity images with VQ-VAE-2.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = VQVAE(VQVAE.Config(width=8, codes=16), DataSpec(channels=1, size=16))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 16, 16)
    """

    class Config(Strict):
        kind: Literal["vq_vae"] = "vq_vae"
        width: float = Field(default=32, gt=0)
        """Channels of encoder and decoder; parity solves for it."""
        levels: Literal[1, 2] = 2
        """Levels of codes; with 2 it is VQ-VAE-2."""
        shrink: Literal[2, 4, 8] = 4
        """How many pixels along a side one code of the fine level stands for; the coarse level's stand for twice as many."""
        codes: int = Field(default=256, ge=2)
        """Codes of each level."""
        code_channels: int = Field(default=32, ge=1)
        """Length of a code's vector."""
        decay: float = Field(default=0.99, ge=0.0, lt=1.0)
        """How much of a book's running means stays at each turn."""
        commitment: float = Field(default=0.25, ge=0.0)
        """Weight of what holds the encoder to its codes; beta of the paper."""
        share: float = Field(default=0.5, gt=0.0, lt=1.0)
        """Share of the budget that trains the coder; the prior has the rest."""
        prior: Annotated[Any, choice(CodePrior, "autoregressive")] = Autoregressive.Config()
        """The law of codes: autoregressive or absorbing."""
        labels: bool = False
        """Tell the prior the class of each image; the data must have labels."""
        optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(lr=1e-3, clip=1.0)
        """How the weights of both move."""

    def build(self) -> None:
        """Coder and prior."""
        c, spec = self.config, self.spec
        self.grids = grids(spec.size, c.shrink, c.levels)
        self.coder = Coder(spec.channels, c.width, c.levels, c.shrink, c.codes, c.code_channels, c.decay)
        length = sum(rows * columns for rows, columns in self.grids)
        patch = c.shrink * 2 ** (c.levels - 1)
        classes = spec.classes if self.labelled else 0
        self.prior: CodePrior = build(
            c.prior, c.codes, length, spec.condition * patch**2, math.prod(self.grids[-1]), classes
        )
        self.known = nn.Module()
        self.known.register_buffer("uses", torch.zeros(c.levels, c.codes))
        self.known.register_buffer("bits", torch.zeros(()))

    def check_size(self, size: Size) -> None:
        """The grids have to come out whole."""
        grids(size, self.config.shrink, self.config.levels)

    def stages(self) -> Sequence[Stage]:
        """The coder, then the prior of its codes."""
        share = self.config.share
        return (Stage(CODER, share=share, use_average=True), Stage(PRIOR, share=1 - share))

    def players(self, stage: Stage) -> Sequence[Player]:
        """One player a stage."""
        if stage.name == CODER:
            group, loss = weights(self.coder), Objective(self.coder_loss)
            return [Player(CODER, [group], [loss], self.config.optimizer, after_step=self.settle)]
        return [Player(PRIOR, [weights(self.prior)], [Objective(self.prior_loss)], self.config.optimizer)]

    def fit(self, stage: Stage, images: Pass) -> Iterator[float]:
        """A k-means start of the books on what the fresh encoder says; later, how often each code is used."""
        with torch.no_grad():
            if stage.name == CODER:
                yield from self._begin(images)
            else:
                self.coder.eval()
                self.uses_of().zero_()
                for x, _ in images.all():
                    for level, codes in enumerate(self.codes_of(x)):
                        self.uses_of()[level] += torch.bincount(codes.flatten(), minlength=self.config.codes)
                    yield 0.0
                self.coder.train(self.training)
        yield 1.0

    def _begin(self, images: Pass) -> Iterator[float]:
        found: list[list[Tensor]] = [[] for _ in self.grids]
        for x, _ in images.all():
            for level, vectors in enumerate(self.coder.vectors(x)):
                found[level].append(vectors.permute(0, 2, 3, 1).flatten(0, 2).float())
            yield 0.0
            if sum(len(part) for part in found[-1]) >= ENOUGH * self.config.codes:
                break
        for level, (book, parts) in enumerate(zip(self.coder.books, found, strict=True)):
            assert isinstance(book, Quantizer)
            some = torch.cat(parts)[: 4 * ENOUGH * self.config.codes]
            book.begin(some, stream(0, "codes", level, device=self.device))

    def uses_of(self) -> Tensor:
        """How often each code of each level is used in the training images."""
        uses = self.known.uses
        assert isinstance(uses, Tensor)
        return uses

    def coder_loss(self, batch: Batch) -> Terms:
        """Squared error and commitment, means over numbers: both are of unit size then."""
        found = self.coder.encode(batch.x)
        made = self.coder.decode([part.maps for part in found])
        held = torch.stack([part.commitment for part in found]).sum()
        return {"reconstruction": (made - batch.x).square().mean(), "commitment": self.config.commitment * held}

    def settle(self, batch: Batch) -> None:
        """The books follow their vectors."""
        for book in self.coder.books:
            book.settle()  # type: ignore[operator]

    def prior_loss(self, batch: Batch) -> Terms:
        """Bits a code; the coder is as it was trained."""
        self.coder.eval()
        with torch.no_grad():
            codes = self.flat(self.codes_of(batch.x))
        nats = self.prior.nats(codes, batch.condition.label, self.seen(batch.condition), batch.rng)
        bits = nats.mean() / (codes.shape[1] * math.log(2))
        held = self.known.bits
        assert isinstance(held, Tensor)
        held.lerp_(bits.detach().float(), torch.where(held > 0, 0.02, 1.0))
        return {"bits_a_code": bits}

    def codes_of(self, x: Images) -> list[Tensor]:
        """The codes of images, the fine level first."""
        return [part.codes for part in self.coder.encode(x)]

    def flat(self, codes: Sequence[Tensor]) -> Int64[Tensor, "B n"]:
        """One sequence an image, the coarse level first."""
        return torch.cat([part.flatten(1) for part in reversed(codes)], 1)

    def unflat(self, sequence: Int64[Tensor, "B n"]) -> list[Tensor]:
        """The codes of each level, the fine one first."""
        parts = sequence.split([rows * columns for rows, columns in reversed(self.grids)], 1)
        return [part.view(-1, *grid) for part, grid in zip(reversed(parts), self.grids, strict=True)]

    def seen(self, condition: Condition) -> Tensor | None:
        """What was observed, as a row of patches, each as large as what a coarse code stands for."""
        if condition.image is None:
            return None
        patch = self.config.shrink * 2 ** (self.config.levels - 1)
        return F.pixel_unshuffle(condition.image, patch).flatten(2).transpose(1, 2)

    def notes(self) -> Sequence[str]:
        """Use of the codes."""
        uses = self.uses_of()
        if not bool(uses.any()):
            return ()
        told = [f"{perplexity(row):.0f} ({float((row > 0).float().mean()):.0%} of {len(row)} used)" for row in uses]
        lines = [f"Perplexity of the codes, the fine level first: {', '.join(told)}"]
        codes, bits = sum(rows * columns for rows, columns in self.grids), float(self.known.bits)  # type: ignore[arg-type]
        if bits:
            whole = bits * codes / self.spec.dimensions
            lines.append(
                f"The prior needs {bits:.2f} bits a code ({math.log2(self.config.codes):.2f} without one) on training images, "
                f"{whole:.3f} for each channel of a pixel"
            )
        return lines

    def alarm(self, means: Mapping[str, float]) -> str:
        """A book of which next to nothing is used."""
        counts = [book.counts for book in self.coder.books]
        least = min(perplexity(c) for c in counts if isinstance(c, Tensor))
        small = least < COLLAPSED * self.config.codes
        return f"codebook collapse: perplexity {least:.1f} of {self.config.codes} codes" if small else ""

    def latent(self, n: int, rng: Rngs) -> Tensor:
        """Code maps from the prior with nothing observed, [n, levels code_channels, rows, columns] of the fine level."""
        label = self.untold(n, rng) if self.labelled else None
        return self._maps(self.prior.draw(n, label, None, rng))

    def _maps(self, sequence: Int64[Tensor, "B n"]) -> Tensor:
        maps = self.coder.look_up(self.unflat(sequence))
        return torch.cat([F.interpolate(part, size=self.grids[0]) for part in maps], 1)

    def decode(self, z: Tensor, condition: Condition = NOTHING) -> Images:
        """Images of code maps."""
        return self.coder.decode([z])

    def encode(self, x: Images, condition: Condition = NOTHING) -> Tensor:
        """The code maps of images."""
        return self._maps(self.flat(self.codes_of(x)))

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """Codes from the prior that is told, decoded."""
        return self.decode(self._maps(self.prior.draw(n, condition.label, self.seen(condition), rng)))

    def deployed(self) -> Sequence[nn.Module]:
        """Prior, books and decoder."""
        return (self.prior, self.coder.books, self.coder.decoder)

    def companions(self) -> Sequence[nn.Module]:
        """What encodes, and what is known of the codes."""
        coder = self.coder
        return (coder.enter, coder.deeper, coder.back, coder.narrow, self.known)

    def calls(self) -> int:
        """The prior's passes and one of the decoder."""
        return self.prior.calls() + 1
