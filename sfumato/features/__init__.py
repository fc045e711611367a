"""Feature extractors: images to vectors, with a hash."""

from sfumato.features.base import Classifies, Features, Layered, Perceives, extractor

__all__ = ["Classifies", "Features", "Layered", "Perceives", "extractor"]
