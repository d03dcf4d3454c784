"""What checkpoints note of the training data and of their own files, to notice what has changed."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from etils import epath

from renyi_jax.common.files import write_text
from renyi_jax.common.progress import phase
from renyi_jax.data import Dataset, fingerprint

_SAMPLED = 1000

Identity = Mapping[str, Any]


def identity_of(dataset: Dataset) -> dict[str, Any]:
    """Returns the class names, the number of training examples, and a digest of 1,000 of them.

    Only process 0 reads; others get an empty identity.
    """
    if jax.process_index():
        return {}
    with phase("Reading what the training data are"):
        content = fingerprint(dataset.train, _SAMPLED)
    return {
        "name": dataset.name,
        "class_names": list(dataset.class_names),
        "num_examples": len(dataset.train),
        "content": content,
    }


def differences(now: Identity, before: Identity) -> Iterator[str]:
    """Yields what has changed, a line each."""
    if now["name"] != before["name"]:
        yield f"data set: {now['name']}, was {before['name']}"
    names, earlier = now["class_names"], before["class_names"]
    if names != earlier:
        came = ", ".join(repr(name) for name in names if name not in earlier)
        went = ", ".join(repr(name) for name in earlier if name not in names)
        yield (
            f"classes: {len(names)}, were {len(earlier)}"
            + (f"; new: {came}" if came else "")
            + (f"; gone: {went}" if went else "")
            + ("; in another order" if not came and not went else "")
        )
    if now["num_examples"] != before["num_examples"]:
        yield f"training examples: {now['num_examples']}, were {before['num_examples']}"
    elif now["content"] != before["content"]:
        yield "training examples: as many as before, and not the same images or labels"


FILE = "digests.json"
"""What the files of a checkpoint held when they were written, so that damage is noticed."""

# What Orbax writes, or writes again, as a folder gets its name.
_LATER = ("_CHECKPOINT_METADATA", "commit_success.txt")


def write_digests(folder: epath.Path) -> None:
    """Writes the SHA-256 of every file below `folder` to a file in it."""
    digests = {str(path.relative_to(folder)): _digest(path) for path in _files(folder)}
    write_text(folder / FILE, json.dumps(digests, indent=2) + "\n")


def damage(folder: epath.Path) -> str | None:
    """What is wrong with a folder that `write_digests` saw; None if nothing is, or is known."""
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
