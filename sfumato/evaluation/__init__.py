"""Evaluation: any images against any others, and why two figures differ."""

from sfumato.evaluation.evaluate import evaluate
from sfumato.evaluation.request import Evaluation, Request

__all__ = ["Evaluation", "Request", "evaluate"]
