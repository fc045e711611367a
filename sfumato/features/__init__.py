"""Feature extractors: images to vectors, with a hash."""

from sfumato.features.base import Features

__all__ = ["Features"]
