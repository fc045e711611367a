"""sfumato: every family of generative image models under one fair protocol.

Four words carry it: a Task degrades, a Family learns, a Restorer answers, a Study compares.
"""

__version__ = "0.1.0"
