"""Data sources: uint8 images, labels where there are any, and a fixed split."""

from sfumato.data.base import Dataset, DataSpec, Source, SourceConfig, Split

__all__ = ["DataSpec", "Dataset", "Source", "SourceConfig", "Split"]
