"""Files on disks and in buckets."""

import json
import math
import os
from typing import Any

from etils import epath

from renyi_jax.errors import UserError


def write_text(path: epath.Path, text: str) -> None:
    """Writes beside `path`, then renames, so that `path` never holds a part of `text`."""
    write_bytes(path, text.encode())


def write_bytes(path: epath.Path, data: bytes) -> None:
    """`write_text` of bytes."""
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(data)
    beside.replace(path)


def write_json(path: epath.Path, value: Any) -> None:
    """Writes strict JSON, whole or not at all; a number that is not finite becomes null."""
    write_text(path, json.dumps(_finite(value), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def append_text(path: epath.Path, text: str) -> None:
    """Adds `text` to the end of a file, which it makes if there is none."""
    if "://" in str(path):
        # Objects of a bucket cannot grow: this writes another.
        write_text(path, (path.read_text() if path.exists() else "") + text)
    else:
        with path.open("a") as file:
            file.write(text)


def make_folder(flag: str, path: epath.PathLike) -> epath.Path:
    """The folder that a flag names, made if there is none.

    Raises:
        UserError: it cannot be written to.
    """
    folder = epath.Path(path).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"--{flag}={folder} is no folder to write to: {error.strerror}.") from error
    return folder
