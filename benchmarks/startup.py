"""Time to import sfumato and to answer `sfumato --help`, against importing torch alone.

python -m benchmarks.startup
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.sides import alternate


def main() -> None:
    """Print seconds of whole processes."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import sfumato": [sys.executable, "-c", "import sfumato"],
        "import torch": [sys.executable, "-c", "import torch"],
        "from sfumato import Study": [sys.executable, "-c", "from sfumato import Study"],
        "sfumato --help": [sys.executable, "-m", "sfumato", "--help"],
    }

    def run(command: list[str]):
        return lambda: subprocess.run(command, check=True, capture_output=True)

    for name, seconds in alternate({name: run(command) for name, command in commands.items()}, rounds=5).items():
        print(f"{name:28} {seconds:6.2f} s")


if __name__ == "__main__":
    main()
