"""The notebooks run as they are written, and their tables say what their texts say."""

import json
from pathlib import Path
from typing import Any

import matplotlib
import pytest

matplotlib.use("Agg")
FOLDER = Path(__file__).parents[1] / "notebooks"


def run(path: Path, share: float) -> dict[str, Any]:
    """What the names of a notebook stand for once all its cells have run."""
    names: dict[str, Any] = {}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]).replace("SHARE = 1.0", f"SHARE = {share}"), names)
    return names


@pytest.fixture(autouse=True)
def _nothing_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: matplotlib.pyplot.close("all"))
    monkeypatch.chdir(tmp_path)


def test_each_notebook_has_a_test() -> None:
    assert {f"test_{path.stem}" for path in FOLDER.glob("*.ipynb")} <= set(globals())


def test_one_toy_five_families() -> None:
    rows = run(FOLDER / "one_toy_five_families.ipynb", 0.02)["rows"]
    assert [row[0] for row in rows] == ["Gaussian", "GAN", "VAE", "Flow", "Diffusion"]
    assert rows[0][4] == pytest.approx(2.5, abs=0.1), "what a Gaussian loses on the ring"
    assert rows[1][4] is None and all(row[4] > -0.05 for row in rows if row[4] is not None), (
        "no density beats the truth"
    )


def test_ddpm_in_one_click() -> None:
    names = run(FOLDER / "ddpm_in_one_click.ipynb", 0.02)
    assert [steps for steps, _ in names["rows"]] == [2, 5, 10, 25] and 0 < names["floor"] < 0.15
    assert len(names["film"]) == 12 and all(off > 0 for off in names["off"])
    found = {result.method: result for result in names["found"]}
    assert set(found) == {"DDPM", "DDPM, 5 calls", "VAE", "GAN", "Gaussian"} and found["DDPM, 5 calls"].calls == 5
    assert all(result.status == "ok" for result in found.values())


def test_exact_samplers() -> None:
    """Its answers do not depend on anything trained, so each sentence of its text is held to them."""
    names = run(FOLDER / "exact_samplers.ipynb", 1.0)
    orders = names["orders"]
    assert 0.8 < orders["ancestral"] < orders["DDIM"] < 1.1 and 1.8 < orders["Heun"] and orders["UniPC"] > 2.5
    last = {row[0]: row[3] for row in names["rows"] if row[1] == 128}
    assert last["UniPC"] < 0.1 < 1 < last["DDIM"] < last["ancestral"]
    assert names["sharp"]["quadratic"] < 0.065 < 0.08 < min(names["sharp"]["even"], names["sharp"]["karras"])
    assert names["by_draws"][False] == pytest.approx(names["formula"], rel=0.15)
    assert names["by_draws"][True] > 1.5 * names["formula"]


@pytest.mark.slow
def test_the_toy_says_what_its_text_says() -> None:
    rows = {row[0]: row for row in run(FOLDER / "one_toy_five_families.ipynb", 1.0)["rows"]}
    lost = {name: row[4] for name, row in rows.items() if row[4] is not None}
    assert min(lost, key=lost.__getitem__) == "Flow" and lost["Flow"] < 0.8 < 2 < lost["Gaussian"]
    near = {name: row[2] for name, row in rows.items()}
    assert near["Diffusion"] > 0.7 > near["VAE"] > near["Gaussian"] and rows["GAN"][3] >= 7


@pytest.mark.slow
def test_one_click_learns() -> None:
    names = run(FOLDER / "ddpm_in_one_click.ipynb", 1.0)
    distances = dict(names["rows"])
    assert distances[25] < 2 * names["floor"] and distances[2] > 1.5 * distances[25] and max(names["off"]) < 0.1
    found = {result.method: result.scores["FD-lite0-b4"].value for result in names["found"]}
    assert found["DDPM"] < 0.5 * found["Gaussian"]
