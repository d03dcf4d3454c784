"""By what a results.json was made."""

import datetime
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from etils import epath

from renyi_jax.common.files import write_json
from renyi_jax.common.version import __version__

_STARTED = time.monotonic()


def write_results(path: epath.Path, results: Mapping[str, Any]) -> None:
    """Writes a results.json, whole or not at all: `results`, and `made_by`."""
    write_json(path, {**results, "made_by": made_by()})


def made_by() -> dict[str, Any]:
    """Returns what computed the results of this process.

    `version` and, from a git checkout, `commit` (ending in -dirty if files changed); the versions
    `python` and `jax`; `device` (its kind), `num_devices`, `machine`; the `command`; the `date`
    (UTC, ISO 8601); and the `seconds` since the start.
    """
    devices = jax.devices()
    return {
        "version": __version__,
        "commit": _commit(Path(__file__)),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "device": devices[0].device_kind,
        "num_devices": len(devices),
        "machine": platform.machine(),
        "command": shlex.join(sys.orig_argv),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - _STARTED, 1),
    }


def _commit(file: Path) -> str | None:
    """The commit of the checkout that tracks `file`: a copy in another's checkout has none."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None
