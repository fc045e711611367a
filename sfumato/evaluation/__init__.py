"""Evaluation: any images against any others, and why two figures differ."""
