"""The model card: what a run is, what it was trained on, what it cost, what it must not be used for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

import sfumato
from sfumato.families.base import Family, parameter_count
from sfumato.training.parts import shortly

if TYPE_CHECKING:
    from sfumato.training.run import Run


def card(run: Run, started: str = "") -> str:
    """A model card in Markdown; `started` is what `adoption` says."""
    config, ledger = run.config, run.ledger
    tasks = ", ".join(str(task.kind) for task in config.tasks)
    average = config.budget.average.owner.words(config.budget.average)
    turns = ", ".join(f"{name} {count:,}" for name, count in ledger.turns.items())
    made_of = [
        f"- Its part `{name}`: {part.config.family.kind} on `{part.config.data.kind}`, {part.ledger.images:,} images, "
        f"{part.ledger.flops:.3g} operations of its own (`parts/{name}/ledger.json`)"
        for name, part in run.parts.items()
    ]
    notes = [f"- {note}" for note in run.family.notes()]
    begun = [f"{name} at {images:,}" for name, images in ledger.stages.items()]
    notes += [f"- Parts of the training, and the images seen before: {', '.join(begun)}"] if len(begun) > 1 else []
    alarm = f"- **Alarm** {ledger.alarm}" if ledger.alarm else ""
    more = "".join(line + "\n" for line in [*made_of, started, *notes, alarm] if line)
    return f"""# {config.family.kind} for {tasks}

- Data: `{config.data.kind}`, {run.spec.channels} x {run.spec.size[0]} x {run.spec.size[1]}
- Parameters: {parameter_count(run.family.deployed()):,} to sample, {parameter_count([run.family]):,} in training
- Spent: {ledger.images:,} images, turns: {turns}, {ledger.flops:.3g} floating-point operations, {ledger.seconds:.0f} s
  on {ledger.device} in {ledger.precision}, peak memory {ledger.peak_bytes / 2**20:.0f} MiB
{more}- Seed {config.seed}, sfumato {sfumato.__version__}, torch {torch.__version__.split("+")[0]}

The weights are {average}, stored as safetensors. `config.json`
beside this card holds every setting; `sfumato sample` takes this folder, `sfumato restore` takes it as `--model`.
A restored pixel is a plausible guess, never evidence of what was there.
"""


def adoption(family: Family, offered: list[str], kept: list[str]) -> str:
    """What a fine-tuned family took over, what is new in it, and what found no place."""
    new = [name for name in family.state_dict() if name not in set(kept)]
    unused = [name for name in offered if name not in set(kept)]
    parts = [f"kept {len(kept)} of {len(offered)} tensors of its start"]
    parts += [f"new: {shortly(new)}"] if new else []
    parts += [f"without a place here: {shortly(unused)}"] if unused else []
    return "- Fine-tuned: " + "; ".join(parts)
