"""Ctrl-C: the first press finishes the step and saves, the second leaves at once."""

from __future__ import annotations

import signal
import sys
import threading
from multiprocessing.synchronize import Event
from types import FrameType, TracebackType

_others: Event | None = None


def listen(event: Event) -> None:
    """Stop trainings of this process when the event is set: a study tells its workers so."""
    global _others
    _others = event


class Interrupt:
    """`with Interrupt() as interrupt:` turns the first SIGINT or SIGTERM into `interrupt.wanted`.

    A second one raises KeyboardInterrupt; since every write is atomic, that too loses nothing finished. Outside the main
    thread, where Python allows no signal handlers, it does nothing.
    """

    def __init__(self) -> None:
        self._pressed = False
        self._old: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def wanted(self) -> bool:
        """Whether this training is to stop."""
        return self._pressed or (_others is not None and _others.is_set())

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._pressed:
            raise KeyboardInterrupt
        self._pressed = True
        sys.stderr.write("\nstopping: this step is finished and saved first; press Ctrl-C again to leave at once\n")
