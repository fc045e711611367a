"""Studies: one question, one file, one answer that says how sure it is."""

from sfumato.studies.study import Method, Parity, Study

__all__ = ["Method", "Parity", "Study"]
