"""The loader: which images a turn sees, how they are prepared, and where they are read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Generator, Tensor

from sfumato.data.base import Split
from sfumato.data.pictures import InMemory
from sfumato.errors import ConfigError
from sfumato.families.base import Stage
from sfumato.images import Images, Known, Pixels, to_float
from sfumato.streams import stream
from sfumato.training import processes

MOST = 4 << 30  # bytes of images that are kept on a GPU; a larger set is sent batch by batch

Read = tuple[Pixels, Tensor | None, Pixels | None]


@dataclass(frozen=True)
class Drawn:
    """The images of one turn, their places in the set, and labels and inputs where there are any."""

    x: Images
    index: Int[Tensor, " B"]
    label: Int[Tensor, " B"] | None = None
    inputs: Images | None = None


class Loader:
    """Images in shuffled epochs, keyed by how many came before: the same batch whatever ran in between.

    A set in memory goes to the device once; any other is read a batch ahead by a thread, and pinned for a GPU.
    """

    def __init__(
        self,
        split: Split,
        batch: int,
        *,
        seed: int = 0,
        flip: bool = False,
        device: torch.device | str = "cpu",
        charge: Callable[[int], None] | None = None,
    ):
        self.split, self.batch, self.seed, self.flip, self.device = split, batch, seed, flip, torch.device(device)
        self._charge = charge
        if batch % processes.world():
            raise ConfigError(
                f"budget.batch = {batch} cannot be shared by {processes.world()} processes; use a multiple"
            )
        channels, rows, columns = split.pictures.shape
        small = len(split) * channels * rows * columns <= MOST
        if split.pictures.in_memory and small and isinstance(split.pictures, InMemory):
            inputs = None if split.inputs is None else split.inputs.read(slice(0, len(split))).to(self.device)
            self.split = Split(split.pictures.pixels.to(self.device), split.labels, inputs, split.known)
        self._smaller: tuple[int, Split] = 1, self.split
        self._order: tuple[int, Int[Tensor, " N"]] | None = None
        self._ahead: tuple[int, Future[Read]] | None = None
        self._pool = None if self.split.pictures.in_memory else ThreadPoolExecutor(1, thread_name_prefix="loader")

    def at(self, position: int, stage: Stage) -> Drawn:
        """This process's share of the batch after `position` images, prepared for a stage."""
        share = self.share(stage)
        places = self._places(position + processes.rank() * share, share)
        pixels, label, inputs = self._read(position, places, stage)
        coin = self._uniforms("flip", position, share, 1, 1, 1) if self.flip else None
        corner = self._uniforms("crop", position, share, 2) if stage.crop else None
        x = self._prepared(pixels, stage, coin, corner)
        other = None if inputs is None else self._prepared(inputs, stage, coin, corner)
        told = None if label is None else label.to(self.device)
        return Drawn(x, places, told, other)

    def share(self, stage: Stage) -> int:
        """Images of a batch for this process; a stage that counts turns sees each picture once in one."""
        share = self.batch // processes.world()
        return share if stage.turns is None else min(share, len(self.split))

    def known(self) -> Known | None:
        """Where the images count, if not everywhere."""
        return None if self.split.known is None else self.split.known.to(self.device, torch.float32)

    def stream(self, name: str) -> Generator:
        """A stream of the training's seed."""
        return stream(self.seed, name, device=self.device)

    def all(self, at_once: int = 256) -> Iterator[tuple[Images, Tensor | None]]:
        """One pass over the set in its own order, each image charged: for what is computed and not trained by steps."""
        for start in range(0, len(self.split), at_once):
            pixels, label, _ = self.split.read(slice(start, start + at_once))
            if self._charge is not None:
                self._charge(len(pixels))
            yield to_float(pixels.to(self.device)), None if label is None else label.to(self.device)

    def close(self) -> None:
        """End the thread."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, position: int, places: Int[Tensor, " B"], stage: Stage) -> Read:
        if self._pool is None:
            return self._at_size(stage).read(places)
        ahead, self._ahead = self._ahead, None
        found = ahead[1].result() if ahead is not None and ahead[0] == position else self._fetch(places)
        after = position + self.batch
        coming = self._places(after + processes.rank() * len(places), len(places))
        self._ahead = after, self._pool.submit(self._fetch, coming)
        return found

    def _at_size(self, stage: Stage) -> Split:
        """The set in memory, made smaller once for a stage whose sides are all so many times shorter."""
        rows, columns = self.split.pictures.shape[1:]
        if stage.size is None or stage.crop is not None:
            return self.split
        factor = rows // stage.size[0]
        paired = self.split.inputs is None or self.split.inputs.shape[1:] == (rows, columns)
        if (stage.size[0] * factor, stage.size[1] * factor) != (rows, columns) or not paired:
            return self.split
        if self._smaller[0] != factor:
            self._smaller = factor, self.split.smaller(factor)
        return self._smaller[1]

    def _fetch(self, places: Int[Tensor, " B"]) -> Read:
        pixels, label, inputs = self.split.read(places)
        if self.device.type == "cuda":
            pixels = pixels.pin_memory()
        return pixels, label, inputs

    def _prepared(self, pixels: Pixels, stage: Stage, coin: Tensor | None, corner: Tensor | None) -> Images:
        x = to_float(pixels.to(self.device, non_blocking=True))
        if stage.crop is not None and corner is not None:
            x = crops(x, stage.crop, corner)
        if stage.size is not None and tuple(x.shape[2:]) != tuple(stage.size):
            x = F.adaptive_avg_pool2d(x, stage.size)
        if coin is not None:
            x = torch.where(coin < 0.5, x.flip(3), x)
        return x.contiguous(memory_format=torch.channels_last)

    def _uniforms(self, name: str, position: int, *shape: int) -> Tensor:
        rng: Generator = stream(self.seed, name, position, processes.rank(), device=self.device)
        return torch.rand(*shape, generator=rng, device=self.device)

    def _places(self, start: int, count: int) -> Int[Tensor, " B"]:
        """Places start..start + count of the endless sequence of shuffled epochs."""
        parts, n = [], len(self.split)
        while count > 0:
            epoch, offset = divmod(start, n)
            if self._order is None or self._order[0] != epoch:
                self._order = epoch, torch.randperm(n, generator=stream(self.seed, "order", epoch))
            part = self._order[1][offset : offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return torch.cat(parts)


def crops(x: Images, size: tuple[int, int], corner: Tensor) -> Images:
    """A window of each image, its place given by two uniform numbers.

    Raises: ConfigError: the window is larger than the images.
    """
    rows, columns = x.shape[2:]
    if size[0] > rows or size[1] > columns:
        raise ConfigError(f"a crop of {size[0]} x {size[1]} does not fit into images of {rows} x {columns}")
    tops = (corner[:, 0] * (rows - size[0] + 1)).long().tolist()
    lefts = (corner[:, 1] * (columns - size[1] + 1)).long().tolist()
    return torch.stack(
        [image[:, top : top + size[0], left : left + size[1]] for image, top, left in zip(x, tops, lefts, strict=True)]
    )
