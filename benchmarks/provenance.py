"""Where a result comes from: commit, command, hardware, software. No machine's name, no path outside the repository."""

import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "monai", "pennylane", "numpy", "scipy")


def describe_origin(
    module: str, arguments: Sequence[str], *, threads: int, commit: str | None = None
) -> dict[str, Any]:
    """What a result file says about its making.

    Args:
        module: The command's module, e.g. "benchmarks.compare_arms".
        arguments: Its arguments.
        threads: That torch computed with.
        commit: Of the code, where there is no git to ask.
    """
    return {
        "commit": commit or current_commit(),
        "command": shlex.join(["python", "-m", module, *arguments]),
        "hardware": describe_hardware(threads),
        "software": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }


def current_commit() -> str:
    """The commit of the working tree, "-dirty" when it has changes, "unknown" without git."""
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return asked.stdout.strip()


def describe_hardware(threads: int) -> str:
    """The kind of machine."""
    return f"{threads} of {os.cpu_count()} CPU cores ({_processor()})"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {platform.machine()}" if names else platform.machine()
