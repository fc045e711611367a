"""The one training loop: every family, every task, every budget. It is the only code that steps an optimiser.

Each turn is keyed by how many images came before it, so its data, masks and noise do not depend on what ran in between:
stop it anywhere, resume, and the same bits come out (on a CPU).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sfumato.config import Strict
from sfumato.data.base import Split
from sfumato.errors import ConfigError, DivergedError, Interrupted, WeightsError
from sfumato.families.base import Adam, Batch, Family, Player, Stage
from sfumato.images import to_float
from sfumato.streams import lent, stream
from sfumato.tasks.base import Task
from sfumato.training import checkpoint, processes
from sfumato.training.ema import EMA
from sfumato.training.interrupt import Interrupt
from sfumato.training.ledger import Ledger, device_name, flop_counter, peak_bytes, reset_peak


class Budget(Strict):
    """How much a training may spend, and how each step is made."""

    images: int = Field(default=100_000, ge=1)
    """Real images consumed over all players' turns; a WGAN with five critic turns sees six batches a generator step."""
    batch: int = Field(default=64, ge=1)
    """Images a turn, over all processes."""
    flip: bool = False
    """Mirror each training image with probability 1/2."""
    ema: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Half-life of the average of the weights, as a share of the images seen so far; 0 for none."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the networks; weights and averages stay float32."""
    compile: bool = False
    """Use torch.compile: minutes to start, worth it on a GPU."""
    save_every: float = Field(default=60.0, gt=0.0)
    """Seconds between checkpoints."""


Watch = Callable[[Ledger, Mapping[str, float]], None]
"""Called every few turns with what was spent and the mean of each loss term since the last call."""


class Trainer:
    """Train one family on one task, or on several in turn.

    `folder` is where checkpoints go and where an interrupted training is found again; without one nothing is written.
    """

    log_rounds = 20  # rounds between looks at the losses; a look waits for the device

    def __init__(
        self,
        family: Family,
        tasks: Task | Sequence[Task],
        budget: Budget,
        *,
        seed: int,
        device: str | torch.device = "cpu",
        folder: Path | None = None,
        watch: Watch | None = None,
    ):
        self.device = torch.device(device)
        self.family = family.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.tasks = [tasks] if isinstance(tasks, Task) else list(tasks)
        self.budget, self.seed, self.folder, self.watch = budget, seed, folder, watch
        if budget.batch % processes.world():
            raise ConfigError(
                f"budget.batch = {budget.batch} cannot be shared by {processes.world()} processes; use a multiple"
            )
        self.ledger = Ledger(device=device_name(self.device), processes=processes.world())
        self.ema = EMA(family, budget.ema)
        self._flops: dict[str, float] = {}
        self._terms: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._order: tuple[int, Int[Tensor, "N"]] | None = None
        if budget.compile:
            for module in family.deployed():  # not the critic: torch.compile has no second derivative for its penalty
                for part in module.children() if module is family else [module]:
                    part.compile()

    def run(self, data: Split) -> Family:
        """Train until the budget is spent; the family then holds the averaged weights.

        Raises: DivergedError: a loss is not finite. Interrupted: Ctrl-C, after a checkpoint. DataError: no disk space.
        """
        reset_peak(self.device)
        images = data.images.to(self.device)
        resumed = self._load()
        start, saved = time.monotonic() - self.ledger.seconds, time.monotonic()
        self.family.train()
        spent_before = 0.0
        with Interrupt() as interrupt:
            for number, stage in enumerate(self.family.stages()):
                spent_before += stage.share * self.budget.images
                if self.ledger.images >= spent_before:
                    continue
                players = self.family.players(stage)
                optimizers = {player.name: optimizer(player) for player in players}
                if resumed is not None and resumed[1]["stage"] == number:
                    for player in players:
                        checkpoint.restore_optimizer(player.name, optimizers[player.name], resumed[0])
                rounds = 0
                while self.ledger.images < spent_before:
                    before = self.ledger.images
                    for player in players:
                        for _ in range(player.turns):
                            self._turn(player, optimizers[player.name], images, stage)
                    self.ema.update(self.ledger.images, self.ledger.images - before)
                    rounds += 1
                    self.ledger = self.ledger.model_copy(update={"seconds": time.monotonic() - start})
                    over = self.ledger.images >= spent_before
                    if rounds % self.log_rounds == 0 or over:
                        self._look()
                    stop = self._agreed(interrupt.wanted, rounds)
                    if (not over and self._agreed(time.monotonic() - saved > self.budget.save_every, rounds)) or stop:
                        self._save(number, optimizers)
                        saved = time.monotonic()
                    if stop:
                        self._interrupted()
        self.ema.copy_to(self.family)
        processes.average_buffers(self.family)
        return self.family.eval()

    def _agreed(self, flag: bool, rounds: int) -> bool:
        """A decision that all processes take in the same round; several ask each other only when they look."""
        if processes.world() == 1:
            return flag
        return rounds % self.log_rounds == 0 and processes.any_process(flag)

    def _turn(self, player: Player, step: torch.optim.Optimizer, images: Tensor, stage: Stage) -> None:
        """One optimiser step of one player on one fresh batch."""
        batch = self._batch(images, stage)
        turn = self.ledger.turns.get(player.name, 0)
        mine = {id(weight) for weight in player.weights}
        for weight in self.family.parameters():
            weight.requires_grad_(id(weight) in mine)
        step.zero_grad(set_to_none=True)
        flops = 0.0
        for number, objective in enumerate(player.objectives):
            if turn % objective.every:
                continue
            name = f"{stage.name}.{player.name}.{number}"
            counter = flop_counter() if name not in self._flops else nullcontext()
            with counter:
                half = torch.autocast(self.device.type, torch.bfloat16, enabled=self.budget.precision == "bfloat16")
                with half, lent(self._stream("layers")):  # dropout knows no generator but the global one
                    terms = objective.loss(batch)
                loss = torch.stack([term.float() for term in terms.values()]).sum() * objective.every
                loss.backward()
            if isinstance(counter, FlopCounterMode):
                self._flops[name] = float(counter.get_total_flops()) * processes.world()
            flops += self._flops[name]
            for key, term in terms.items():
                self._note(f"{player.name}.{key}", term.detach().float())
        processes.average_gradients(player.weights)
        if player.optimizer.clip is not None:
            torch.nn.utils.clip_grad_norm_(player.weights, player.optimizer.clip)
        for group in step.param_groups:
            group["lr"] = learning_rate(player.optimizer, self.ledger.images / self.budget.images)
        step.step()
        player.after()
        update = {
            "images": self.ledger.images + self.budget.batch,
            "turns": {**self.ledger.turns, player.name: turn + 1},
            "flops": self.ledger.flops + flops,
        }
        self.ledger = self.ledger.model_copy(update=update)

    def _batch(self, images: Tensor, stage: Stage) -> Batch:
        """The next images in shuffled order, some mirrored, observed by the task whose turn it is."""
        at, rank, share = self.ledger.images, processes.rank(), self.budget.batch // processes.world()
        places = self._places(len(images), at + rank * share, share).to(self.device)
        x = to_float(images[places])
        if stage.size is not None and stage.size != x.shape[-1]:
            x = torch.nn.functional.adaptive_avg_pool2d(x, stage.size)
        if self.budget.flip:
            coin = torch.rand(share, 1, 1, 1, generator=self._stream("flip"), device=self.device)
            x = torch.where(coin < 0.5, x.flip(3), x)
        x = x.contiguous(memory_format=torch.channels_last)
        which = 0
        if len(self.tasks) > 1:
            draw = torch.randint(len(self.tasks), (1,), generator=stream(self.seed, "task", at))
            which = int(draw)
        observation = self.tasks[which].observe(x, self._stream("mask"))
        return Batch(x, observation, self._stream("loss"), at / self.budget.images)

    def _stream(self, name: str) -> torch.Generator:
        return stream(self.seed, name, self.ledger.images, processes.rank(), device=self.device)

    def _places(self, n: int, start: int, count: int) -> Int[Tensor, "B"]:
        """Places start..start + count of the endless sequence of shuffled epochs."""
        parts = []
        while count > 0:
            epoch, offset = divmod(start, n)
            if self._order is None or self._order[0] != epoch:
                self._order = epoch, torch.randperm(n, generator=stream(self.seed, "order", epoch))
            part = self._order[1][offset : offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return torch.cat(parts)

    def _note(self, name: str, value: Tensor) -> None:
        self._terms[name] = self._terms[name] + value if name in self._terms else value
        self._counts[name] = self._counts.get(name, 0) + 1

    def _look(self) -> None:
        """Read the losses, stop if one is not finite, and tell whoever watches."""
        means = {name: float(value) / self._counts[name] for name, value in self._terms.items()}
        self._terms, self._counts = {}, {}
        self.ledger = self.ledger.model_copy(
            update={"peak_bytes": max(self.ledger.peak_bytes, peak_bytes(self.device))}
        )
        for name, mean in means.items():
            if not math.isfinite(mean):
                raise DivergedError(
                    f"the loss {name} became {mean} after {self.ledger.images:,} images; lower the learning rate or "
                    "set a gradient limit (optimizer.clip)"
                )
        if self.watch is not None and processes.rank() == 0:
            self.watch(self.ledger, means)
        if self.folder is not None and processes.rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            line = json.dumps({"images": self.ledger.images, "seconds": round(self.ledger.seconds, 3), **means})
            with (self.folder / "losses.jsonl").open("a") as file:
                file.write(line + "\n")

    def _save(self, stage: int, optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
        self._look()
        processes.average_buffers(self.family)
        if processes.rank() == 0 and self.folder is not None:
            tensors = {f"family.{name}": value for name, value in self.family.state_dict().items()}
            tensors |= {f"ema.{name}": value for name, value in self.ema.values.items()}
            for name, step in optimizers.items():
                tensors |= checkpoint.optimizer_tensors(name, step)
            facts = {"ledger": self.ledger.model_dump(), "stage": stage, "flops": self._flops}
            checkpoint.save_checkpoint(self.folder, self.ledger.images, tensors, facts)
        processes.barrier()

    def _load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        found = checkpoint.load_checkpoint(self.folder) if self.folder is not None else None
        if found is not None:
            tensors, facts = found
            try:
                self.family.load_state_dict(
                    {
                        name.removeprefix("family."): value
                        for name, value in tensors.items()
                        if name.startswith("family.")
                    }
                )
            except RuntimeError:
                raise WeightsError(f"the checkpoint in {self.folder} is of another training; remove it") from None
            self.ema.load(
                {name.removeprefix("ema."): value for name, value in tensors.items() if name.startswith("ema.")}
            )
            self.ledger = Ledger.model_validate(facts["ledger"]).model_copy(update={"processes": processes.world()})
            self._flops = dict(facts["flops"])
        return found

    def _interrupted(self) -> None:
        kept = (
            f"it goes on from there when the same command is given again (in {self.folder})"
            if self.folder
            else "nothing was kept"
        )
        raise Interrupted(f"stopped after {self.ledger.images:,} of {self.budget.images:,} images; {kept}")


def optimizer(player: Player) -> torch.optim.Optimizer:
    """A player's optimiser, fused where the device allows."""
    settings = player.optimizer
    return torch.optim.AdamW(
        list(player.weights), lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
    )


def learning_rate(settings: Adam, progress: float) -> float:
    """lr min(1, progress / warmup), then constant or (1 + cos(pi progress)) / 2 of it.

    Example:
        >>> learning_rate(Adam(lr=1.0, warmup=0.0, decay="cosine"), 0.5)
        0.5
    """
    rise = min(1.0, progress / settings.warmup + 1e-3) if settings.warmup > 0 else 1.0
    fall = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))) if settings.decay == "cosine" else 1.0
    return settings.lr * rise * fall
