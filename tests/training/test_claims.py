"""Settings of older runs are read as they were meant."""

from typing import Any

import pytest

from sfumato.config import load
from sfumato.training.claims import migrated
from sfumato.training.run import RunConfig

from .tiny import settings


def written(form: int | None, **changes: Any) -> dict[str, Any]:
    """A run's settings as a version wrote them that knew nothing of what followed."""
    values = settings().model_dump(mode="json")
    for later in {None: ["precision", "mix_tasks"], 2: ["precision", "mix_tasks"], 3: ["mix_tasks"], 4: []}[form]:
        del values["budget"][later]
    if form in (None, 2):
        del values["family"]["network"]["grain"]
    if form is None:
        del values["budget"]["average"]
        values["budget"]["ema"] = 0.1
        del values["family"]["schedule"], values["family"]["sampler"]
        values["family"] |= {"schedule": {"kind": "cosine"}, "sampler": {"kind": "ancestral"}}
    values.pop("format")
    return {**values, **({} if form is None else {"format": form}), **changes}


@pytest.mark.parametrize("form", [None, 2, 3, 4])
def test_what_was_a_default_is_written_down(form: int | None) -> None:
    run = load(RunConfig, migrated(written(form)), "config.json")
    assert run.budget.mix_tasks is (form == 4)
    assert run.budget.precision == ("float32" if form in (None, 2) else settings().budget.precision)
    assert run.family.network.grain == (1 if form in (None, 2) else settings().family.network.grain)
    if form is None:
        assert run.budget.average.share == 0.1
        assert run.family.schedule.rounded and run.family.sampler.spacing.kind == "even"
    else:
        assert run == settings().model_copy(update={"budget": run.budget, "family": run.family})


def test_other_files_are_left_alone() -> None:
    assert migrated({"title": "a study"}) == {"title": "a study"}
    later = written(4, format=9)
    assert migrated(later) == later
