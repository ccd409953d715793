"""Where and of what a measurement was made: every result carries it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("numpy", "opencv-contrib-python", "mediapipe", "aiortc", "av")


def describe(command: str) -> dict[str, Any]:
    """The machine, the versions, the commit and the command line that repeats the measurement."""
    return {
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def write_result(path: Path, command: str, figures: Any) -> None:
    """Write figures with their circumstances as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"environment": describe(command), "figures": figures}, indent=1) + "\n")


def command_line() -> str:
    """How this process was called, without the interpreter's path."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _commit() -> str | None:
    here = Path(__file__).parent
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None  # installed without its repository
    return run.stdout.strip()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
