"""What the documents promise has to work: the recipe of CONTRIBUTING, the study and the Python of README."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest

import sfumato
from sfumato import catalogue
from sfumato.config import load
from sfumato.data.base import DataSpec
from sfumato.families.ddpm import DDPM
from sfumato.kinds import all_roots, kinds_of
from sfumato.studies.study import Study
from sfumato.testing import check_family, check_metric, check_restorer, check_task

ROOT = Path(__file__).parent.parent


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of one language in a document."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL)


def sampler_check(config):
    check_family(DDPM.Config(width=4, sampler=config.model_copy(update={"steps": 4})), DataSpec(channels=1, size=8))


RECIPES = {  # the class of each recipe, and how its kind is checked
    "LSGAN": lambda config: check_family(config.model_copy(update={"width": 4})),
    "Mine": lambda config: check_family(config),
    "Rows": check_task,
    "Worst": check_metric,
    "MedianFill": check_restorer,
    "Twice": sampler_check,
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_of_contributing_pass_the_checks(name, tmp_path, monkeypatch):
    sources = {re.search(r"^class (\w+)\(", source, re.M)[1]: source for source in blocks("CONTRIBUTING.md", "python")}
    assert set(sources) == set(RECIPES)
    catalogue.roots()
    before = {root: dict(kinds_of(root)) for root in all_roots()}
    kind = re.search(r'Literal\["(\w+)"\]', sources[name])[1]
    for root in all_roots():
        kinds_of(root).pop(kind, None)  # whoever follows the recipe has the file in the tree
    (tmp_path / f"recipe_{kind}.py").write_text(sources[name])
    monkeypatch.syspath_prepend(tmp_path)
    try:
        module = importlib.import_module(f"recipe_{kind}")
        RECIPES[name](getattr(module, name).Config())
    finally:
        for root, kinds in before.items():
            kinds_of(root).clear()
            kinds_of(root).update(kinds)


def test_the_study_of_the_readme_is_a_study():
    import tomllib

    (text,) = blocks("README.md", "toml")
    study = load(Study, tomllib.loads(text))
    assert [method.name for method in study.methods] == ["WGAN-GP", "DDPM", "Telea"]


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source in blocks("README.md", "python"):
        small = source.replace("studies/quickstart.toml", str(ROOT / "studies" / "quickstart.toml")).replace(
            "5000", "256"
        )
        small = small.replace("images=50_000", "images=64, settings={'family.width': 4}")
        exec(compile(small, "README.md", "exec"), {})
    assert (tmp_path / "runs" / "small" / "report.html").is_file()


@pytest.mark.parametrize("name", sfumato.__all__)
def test_every_public_name_can_be_had(name):
    assert getattr(sfumato, name) is not None


def test_every_local_link_of_the_documents_leads_somewhere():
    for name in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text()):
            if "://" not in target:
                assert (ROOT / target).exists(), f"{name} links to {target}"


def test_the_page_on_diffusions_runs(capsys):
    for source, told in zip(
        blocks("docs/diffusion.md", "python"), ("25 (4, 1, 8, 8)", "torch.Size([4, 2, 3, 16, 16])"), strict=True
    ):
        exec(source, {})
        assert capsys.readouterr().out.split("\n")[-2] == told and f"# {told}" in source
    values = "\n".join(blocks("docs/diffusion.md", "toml"))
    assert (
        Study.model_validate({"title": "t", "data": "digits", "tasks": ["generation"], **tomllib.loads(values)})
        .methods[0]
        .drawn
    )
