"""Checks for a kind of your own: `check_family("mine")` in a test says in one sentence what is wrong with it.

Each check raises AssertionError for the first promise that is broken and returns nothing otherwise. They use tiny images,
no file and no network, and run over every kind of sfumato itself in `tests/contracts`. A name is checked with its default
settings and a small `width`; give a config to check others.

Example:
    >>> from sfumato.testing import check_task
    >>> check_task("outpainting")
"""

from sfumato.testing.configs import check_config
from sfumato.testing.families import check_family
from sfumato.testing.metrics import check_metric
from sfumato.testing.restorers import check_restorer
from sfumato.testing.sources import check_source
from sfumato.testing.tasks import check_task

__all__ = ["check_config", "check_family", "check_metric", "check_restorer", "check_source", "check_task"]
