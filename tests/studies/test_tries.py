"""Random settings: drawn from what the study declares, and the best of k by hand and by brute force."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from sfumato.errors import ConfigError
from sfumato.reports.report import build_report
from sfumato.reports.tries import losses_of, verdict
from sfumato.studies import runner
from sfumato.studies.results import gather
from sfumato.studies.study import read_study
from sfumato.studies.tries import Range, best_of, expanded, matters

STUDY = """
title = "t"
tasks = ["generation"]
metrics = [{ kind = "mind", features = { kind = "lite0", layer = "b4" }, directions = 50, replicates = 0 }]
contrasts = []
budget = { images = 64, batch = 16 }
[data]
kind = "digits"
train = 64
validation = 8
test = 16
[[methods]]
name = "GAN"
family = { kind = "gan", width = 4 }
[methods.tries]
n = 3
ranges."generator_optimizer.lr" = { low = 1e-4, high = 1e-2, log = true }
ranges."penalties.0.gamma" = { of = [0.1, 1.0] }
[[methods]]
name = "VAE"
family = "vae"
tries = { n = 2, ranges = { width = { of = [4, 6] }, "optimizer.lr" = { low = 1e-3, high = 2e-3 } } }
[[methods]]
name = "Gaussian"
family = "gaussian"
"""


@pytest.mark.parametrize("n", [2, 5, 8])
def test_the_best_of_k_is_that_of_all_choices(n: int) -> None:
    losses = np.random.default_rng(n).normal(size=n).tolist()
    for k in range(1, n + 1):
        bests = sorted(min(chosen) for chosen in itertools.combinations(losses, k))
        made = best_of(losses, k)
        assert made.expected == pytest.approx(np.mean(bests))
        assert made.low == bests[min(int(0.05 * len(bests)), len(bests) - 1)]
        assert made.high == bests[max(math.ceil(0.95 * len(bests) - 1e-9) - 1, 0)]


def test_a_diverged_setting_is_the_worst_of_all() -> None:
    assert best_of([1.0, math.inf], 1).expected == math.inf and best_of([1.0, math.inf], 2).expected == 1.0
    assert matters([[1.0, 2.0, 3.0, 4.0], [math.inf, math.inf, 5.0, 6.0]]) < 0.05


def test_whether_it_matters_is_kruskal_and_wallis() -> None:
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.8, 2.0):
        groups = [rng.normal(shift * i, 1, 8).tolist() for i in range(3)]
        assert matters(groups) == pytest.approx(scipy.stats.kruskal(*groups).pvalue, abs=0.03)
    nulls = [matters([rng.normal(size=8).tolist() for _ in range(3)]) < 0.05 for _ in range(60)]
    assert np.mean(nulls) < 0.15
    assert "it matters which" in verdict({"a": [1.0, 2.0, 3.0, 4.0], "b": [5.0, 6.0, 7.0, 8.0]})
    assert "cannot be told" in verdict({"a": [1.0, 2.0, 3.0, 4.0], "b": [1.5, 2.5, 3.5, 0.5]})


def test_ranges() -> None:
    assert [Range(low=1e-4, high=1e-2, log=True).at(u) for u in (0.0, 0.5, 1.0)] == [1e-4, 1e-3, 1e-2]
    assert [Range(low=1, high=3).at(u) for u in (0.0, 0.5)] == [1.0, 2.0]
    assert [Range(of=[1, 2]).at(u) for u in (0.0, 0.49, 0.5, 0.999)] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"low": 1}, "a range is low and high"),
        ({"low": 2, "high": 1}, "low is below high"),
        ({"low": 0, "high": 1, "log": True}, "above 0 for a logarithm"),
        ({"low": 0, "high": 1, "of": [1]}, "a range is low and high"),
    ],
)
def test_ranges_that_are_none(given: dict[str, Any], words: str) -> None:
    method = {"name": "a", "family": "gan", "tries": {"ranges": {"width": given}}}
    with pytest.raises(ConfigError, match=words):
        expanded({"methods": [method]})
    with pytest.raises(ConfigError, match="draws settings of a family; give it one"):
        expanded({"methods": [{"name": "a", "tries": {"ranges": {"width": {"of": [1]}}}}]})


def test_a_study_tries_settings_and_says_what_the_best_would_show(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    study = read_study(tmp_path / "study.toml")
    assert [m.name for m in study.methods] == ["GAN 1", "GAN 2", "GAN 3", "VAE 1", "VAE 2", "Gaussian"]
    assert study == read_study(tmp_path / "study.toml"), "drawn by names and not by chance"
    rates = [method.family.generator_optimizer.lr for method in study.methods[:3]]
    assert len(set(rates)) == 3 and all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert {method.family.penalties[0].gamma for method in study.methods[:3]} <= {0.1, 1.0}
    assert study.methods[0].family.generator_optimizer.betas == (0.0, 0.9), "what is not drawn stays"
    runner.run(study, tmp_path / "out", device="cpu")
    results = gather(tmp_path / "out")
    losses = losses_of(study, results, "generation", "MIND-lite0-b4")
    values = {r.method: r.scores["MIND-lite0-b4"].value for r in results}
    assert losses == {"GAN": [values[f"GAN {i}"] for i in (1, 2, 3)], "VAE": [values["VAE 1"], values["VAE 2"]]}
    page = build_report(tmp_path / "out").read_text()
    assert "The best of k random settings" in page and "Over random settings" in page
    assert f"{min(losses['VAE']):.3g}" in page
