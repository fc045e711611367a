"""sfumato: every family of generative image models under one fair protocol.

Four words carry it: a Task degrades, a Family learns, a Restorer answers, a Study compares.

Example:
    >>> import sfumato
    >>> study = sfumato.Study(title="t", data="digits", tasks=["inpainting"], methods=[{"name": "Telea", "restorer": "telea"}])
    >>> study.methods[0].restorer.radius
    3.0
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Budget": "sfumato.training.budget",
    "DataSpec": "sfumato.data.base",
    "Family": "sfumato.families.base",
    "Kind": "sfumato.kinds",
    "Metric": "sfumato.metrics.base",
    "Restorer": "sfumato.restorers.base",
    "RunConfig": "sfumato.training.run",
    "SfumatoError": "sfumato.errors",
    "Source": "sfumato.data.base",
    "Study": "sfumato.studies.study",
    "Task": "sfumato.tasks.base",
    "Trainer": "sfumato.training.trainer",
    "Evaluation": "sfumato.evaluation.request",
    "Request": "sfumato.evaluation.request",
    "build": "sfumato.kinds",
    "build_report": "sfumato.reports.report",
    "compare": "sfumato.evaluation.evaluate",
    "evaluate": "sfumato.evaluation.evaluate",
    "evaluate_run": "sfumato.studies.evaluate",
    "Model": "sfumato.model",
    "plan": "sfumato.model",
    "train_run": "sfumato.training.run",
    "explain": "sfumato.evaluation.explain",
    "load_run": "sfumato.model",
    "read_study": "sfumato.studies.study",
    "denoiser_from": "sfumato.restoring",
    "restore": "sfumato.restoring",
    "restore_picture": "sfumato.restorers.picture",
    "run_study": "sfumato.studies.runner",
    "stream": "sfumato.streams",
    "texture": "sfumato.textures",
    "train": "sfumato.model",
}
__all__ = ["__version__", *_PUBLIC]


def __dir__() -> list[str]:
    """The public names, whether they were used yet or not."""
    return sorted({*globals(), *_PUBLIC})


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import sfumato` costs nothing."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sfumato' has no attribute {name!r}")
    module = import_module(_PUBLIC[name])
    short = {"run_study": "run", "train_run": "train"}.get(name, name)
    return getattr(module, short)
