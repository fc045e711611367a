"""`sfumato exact`: the command, its page, and what it says of walks that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.data.digits import Digits
from sfumato.data.photos import Photos
from sfumato.exact import axes, stationary
from sfumato.samplers.exact import Law
from tests.cases import call


def told(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "exact.json").read_text())["rows"]
    return rows


def test_the_command_and_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["exact", "digits", "--steps", "5,20", "--sampler", "ddim,unipc,heun", "--out", tmp_path]
    assert call(*arguments) == 0
    rows = {(row["sampler"], row["steps"]): row for row in told(tmp_path)}
    assert [row["calls"] for row in rows.values()] == [5, 20, 5, 20, 9, 39]
    assert rows["unipc", 20]["total"] < rows["ddim", 20]["total"] < rows["ddim", 5]["total"]
    page = (tmp_path / "exact.html").read_text()
    assert "<svg" in page and "unipc" in page and "digits" in page and "http" not in page.split("<svg")[0]
    assert "20 steps" in capsys.readouterr().out


def test_bad_wishes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wish, words in (
        (["--steps", "5,many"], "whole numbers"),
        (["--sampler", "dpm"], "unknown sampler kind"),
        (["--schedule", "cosin"], "unknown schedule kind"),
        (["--steps", "0"], "whole numbers from 1 on"),
        (["--spacing", "odd"], "unknown spacing kind"),
    ):
        assert call("exact", "digits", "--out", tmp_path, *wish) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1


def test_clamped_walks_are_compared_by_draws(tmp_path: Path) -> None:
    settings = ["--set", "data.train=200", "--steps", "40", "--sampler", "ancestral", "--clamped", "--out", tmp_path]
    assert call("exact", "digits", *settings) == 0
    plain, clamped = told(tmp_path)
    assert clamped["sampler"] == "ancestral, clamped" and clamped["start"] is None
    assert clamped["total"] > 0.9 * clamped["floor"] > 0, "draws are never nearer than other draws of the law itself"
    assert plain["floor"] is None


def test_the_axes_are_those_of_the_covariance() -> None:
    data = Digits(Digits.Config()).load()
    law, words, pixels = axes(data)
    x = pixels(law.mean + law.variance.sqrt() * torch.randn(4000, 64).double())
    true = data.train.images.double().flatten(1) / 127.5 - 1
    true = torch.cat([true, true.view(-1, 8, 8).flip(2).flatten(1)])
    assert "covariance" in words
    np.testing.assert_allclose(x.mean(0).numpy(), true.mean(0).numpy(), atol=0.06)
    np.testing.assert_allclose(x.T.cov().numpy(), true.T.cov().numpy(), atol=0.09)


def test_stationary_images_have_the_mean_square_of_the_images() -> None:
    data = Photos(Photos.Config(size=32, train=300)).load()
    law, _, back = stationary(data)
    assert isinstance(law, Law) and len(law.mean) == 3 * 32 * 32
    x = data.train.images.double() / 127.5 - 1
    mean = x.mean((0, 2, 3))
    total = float((x - mean[:, None, None]).square().flatten(1).sum(1).mean())
    assert float(law.variance.sum()) == pytest.approx(total, rel=1e-6), "Parseval"
    assert float(law.mean.square().sum()) == pytest.approx(32 * 32 * float(mean.square().sum()), rel=1e-6)
    with pytest.raises(Exception, match="clamped"):
        back(torch.zeros(1, 1))
