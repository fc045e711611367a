"""Commands one after the other in a process of its own: what ends it is seen from outside, and so is what never ends.

A line of JSON `[folder, arguments]` comes in, a line `[code, stderr, highest memory in MiB]` goes out.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import selectors
import subprocess
import sys
from pathlib import Path
from typing import Any

PATIENCE = 90  # seconds
CRASHED, HUNG, BROKEN = 97, 98, 99


def call(arguments: list[str]) -> tuple[int, str]:
    """The exit code of a command, and what it said on stderr."""
    from sfumato.cli import main

    said, code = io.StringIO(), 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException as error:
            return BROKEN, repr(error)
    return code, said.getvalue()


class Worker:
    """A process that takes commands; one that crashed or hung is replaced."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, folder: Path, arguments: list[str]) -> tuple[int, str, int]:
        """Exit code, stderr, and by how many MiB the highest memory rose."""
        if self._process is None:
            root = str(Path(__file__).parents[2])
            path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            )
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps([str(folder), arguments]) + "\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            answered = selector.select(PATIENCE)
        line = process.stdout.readline() if answered else ""
        if not line:
            code = process.wait() if answered else 0
            self.close()
            return (CRASHED, f"it ended with {code}", 0) if answered else (HUNG, f"no end within {PATIENCE} s", 0)
        code, said, memory = json.loads(line)
        return code, said, memory

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def serve(lines: Any, answers: Any) -> None:
    """Answer until there is nothing more to do."""
    for line in lines:
        folder, arguments = json.loads(line)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with contextlib.chdir(folder):
            code, said = call(arguments)
        risen = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        answers.write(json.dumps([code, said, risen]) + "\n")
        answers.flush()


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # whatever prints past Python goes where errors go
        serve(sys.stdin, answers)
