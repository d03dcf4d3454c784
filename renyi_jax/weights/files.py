"""Files of weights: read by what is in them, whatever their name; written whole or not at all."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from renyi_jax.errors import UserError
from renyi_jax.files import write_bytes
from renyi_jax.weights.locate import locate
from renyi_jax.weights.torch_files import read_torch


class Checkpoint(NamedTuple):
    """What a file of weights holds.

    Attributes:
        path: where it was found.
        tensors: timm's names, float32 whatever the file has.
        metadata: what `save_weights` noted beside them; empty for other files.
    """

    path: Path
    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]


def read_checkpoint(source: str | Path) -> Checkpoint:
    """Reads a file of safetensors or of torch; `locate` says what `source` may be.

    Raises:
        UserError: there is no such file, it is damaged, or it is of another kind.
    """
    path = locate(source)
    try:
        with path.open("rb") as file:
            start = file.read(64)
        if start[8:9] == b"{":
            tensors, metadata = _read_safetensors(path)
        elif start.startswith((b"PK", b"\x80")):
            tensors, metadata = read_torch(path), {}
        else:
            raise UserError(
                f"{path} is no file of weights: {_describe(start)}. Expected safetensors, or a"
                " state dictionary that torch.save wrote."
            )
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    tensors = {name: np.asarray(array, np.float32) for name, array in tensors.items()}
    return Checkpoint(path, tensors, metadata)


def read_metadata(source: str | Path) -> dict[str, str]:
    """The metadata of a file of weights, without the weights; errors as in `read_checkpoint`."""
    path = locate(source)
    with path.open("rb") as file:
        if file.read(9)[8:] != b"{":
            return {}
    with _told(path), safetensors.safe_open(path, framework="np") as file:
        return file.metadata() or {}


def write_checkpoint(
    path: str | Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Writes safetensors, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    # safetensors copies the memory of an array as it lies, whatever its strides.
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    write_bytes(path, safetensors.numpy.save(contiguous, dict(metadata)))


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with _told(path), safetensors.safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tells in words that a file is damaged."""
    try:
        yield
    except safetensors.SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}); download or copy it again.") from error


def _describe(start: bytes) -> str:
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS (git lfs pull fetches the file itself)"
    if start.lstrip().startswith(b"<"):
        return "it is a web page (was it a link to a page rather than to the file?)"
    return f"it starts with {start[:8]!r}"
