"""Restorers: learned and classical answers to an observation."""

from sfumato.restorers.base import Restorer

__all__ = ["Restorer"]
