"""The notebooks run as they are written, and their tables say what their texts say."""

import json
from pathlib import Path
from typing import Any

import matplotlib
import pytest

matplotlib.use("Agg")
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def run(path: Path, share: float) -> dict[str, Any]:
    """What the names of a notebook stand for once all its cells have run."""
    names: dict[str, Any] = {}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]).replace("SHARE = 1.0", f"SHARE = {share}"), names)
    return names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: matplotlib.pyplot.close("all"))
    rows = run(path, 0.02)["rows"]
    assert [row[0] for row in rows] == ["Gaussian", "GAN", "VAE", "Flow", "Diffusion"]
    assert rows[0][4] == pytest.approx(2.5, abs=0.1), "what a Gaussian loses on the ring"
    assert rows[1][4] is None and all(row[4] > -0.05 for row in rows if row[4] is not None), (
        "no density beats the truth"
    )


@pytest.mark.slow
def test_the_toy_says_what_its_text_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: matplotlib.pyplot.close("all"))
    rows = {row[0]: row for row in run(NOTEBOOKS[0], 1.0)["rows"]}
    lost = {name: row[4] for name, row in rows.items() if row[4] is not None}
    assert min(lost, key=lost.__getitem__) == "Flow" and lost["Flow"] < 0.8 < 2 < lost["Gaussian"]
    near = {name: row[2] for name, row in rows.items()}
    assert near["Diffusion"] > 0.7 > near["VAE"] > near["Gaussian"] and rows["GAN"][3] >= 7
