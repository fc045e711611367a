"""What the documents promise has to work: the recipe of CONTRIBUTING, the study and the Python of README."""

import importlib
import re
from pathlib import Path

import pytest

import sfumato
from sfumato.config import load
from sfumato.kinds import kinds_of
from sfumato.studies.study import Study

ROOT = Path(__file__).parent.parent


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of one language in a document."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL)


def test_the_model_of_contributing_passes_the_checks_of_a_family(tmp_path, monkeypatch):
    from sfumato.families.base import Family
    from sfumato.testing import check_family

    (source,) = blocks("CONTRIBUTING.md", "python")
    kept = kinds_of(Family).pop("lsgan", None)  # whoever follows the recipe has the family in the tree
    (tmp_path / "lsgan_of_contributing.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        module = importlib.import_module("lsgan_of_contributing")
        check_family(module.LSGAN.Config(width=4))
    finally:
        kinds_of(Family).pop("lsgan", None)
        if kept is not None:
            kinds_of(Family)["lsgan"] = kept


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
