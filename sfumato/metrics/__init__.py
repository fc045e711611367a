"""Metrics: formulas as functions, their state as classes."""

from sfumato.metrics.base import Metric, Score

__all__ = ["Metric", "Score"]
