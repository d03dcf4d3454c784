"""What the files of a folder held when it was written, so that damage is noticed."""

import hashlib
import json
from collections.abc import Iterator

from etils import epath

from renyi_jax.common.files import write_text

FILE = "digests.json"

# What Orbax writes, or writes again, as a folder gets its name.
_LATER = ("_CHECKPOINT_METADATA", "commit_success.txt")


def write_digests(folder: epath.Path) -> None:
    """Writes the SHA-256 of every file below `folder` to a file in it."""
    digests = {str(path.relative_to(folder)): _digest(path) for path in _files(folder)}
    write_text(folder / FILE, json.dumps(digests, indent=2) + "\n")


def damage(folder: epath.Path) -> str | None:
    """What is wrong with a folder that `write_digests` saw; None if nothing is.

    Files that have come since are of no concern. Without a file of digests, nothing is known.
    """
    if not (folder / FILE).exists():
        return None
    try:
        digests = json.loads((folder / FILE).read_text())
    except ValueError:
        return f"{FILE} cannot be read"
    for name, digest in digests.items():
        path = folder / name
        if not path.exists():
            return f"{name} is missing"
        if _digest(path) != digest:
            return f"{name} does not hold what was written"
    return None


def _files(folder: epath.Path) -> Iterator[epath.Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _files(path)
        elif path.name not in _LATER:
            yield path


def _digest(path: epath.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
