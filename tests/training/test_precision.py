"""Which arithmetic a training takes, and that it is the one that its ledger says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sfumato.data.base import DataSpec
from sfumato.families.ddpm import DDPM
from sfumato.tasks.generation import Generation
from sfumato.training import precision
from sfumato.training.budget import Budget
from sfumato.training.precision import WORTH, resolved
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer
from tests.training.tiny import data

CPU, CARD = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "has", "parameters", "expected"),
    [
        (CPU, True, WORTH, "bfloat16"),
        (CPU, True, WORTH - 1, "float32"),
        (CPU, False, WORTH, "float32"),
        (CARD, True, 1, "bfloat16"),
        (CARD, False, WORTH, "float32"),
    ],
)
def test_auto_takes_bfloat16_where_it_is_there_and_faster(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, has: bool, parameters: int, expected: str
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: has)
    assert resolved("auto", device, parameters) == expected
    assert resolved("float32", device, parameters) == "float32" and resolved("bfloat16", device, 1) == "bfloat16"


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_networks_run_in_what_the_ledger_says(wanted: Any) -> None:
    family: Any = make_family(DDPM.Config(width=4), DataSpec(channels=1, size=8), 0)
    seen: list[tuple[torch.dtype, str]] = []
    first = next(module for module in family.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_hook(lambda module, x, y: seen.append((y.dtype, torch.get_float32_matmul_precision())))
    trainer = Trainer(family, Generation(Generation.Config()), Budget(images=32, batch=16, precision=wanted), seed=0)
    trainer.run(data().train)
    half = wanted == "bfloat16"
    assert trainer.ledger.precision == wanted
    assert set(seen) == {(torch.bfloat16 if half else torch.float32, "high" if half else "highest")}
    assert all(weight.dtype == torch.float32 for weight in family.parameters())
    assert torch.get_float32_matmul_precision() == "highest"
