"""Files of weights: read by what is in them, whatever their name; written whole or not at all."""

import contextlib
import functools
import json
import math
import textwrap
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy
from absl import logging
from etils import epath

from renyi_jax.common.files import write_bytes
from renyi_jax.errors import UserError
from renyi_jax.weights.locate import locate, notes_beside, timm_repository
from renyi_jax.weights.projects import recognize
from renyi_jax.weights.states import Entries, Entry, choose_state
from renyi_jax.weights.torch_files import read_torch

_READ = {
    *("F64", "F32", "F16", "BF16", "BOOL"),
    *(f"{sign}{n}" for sign in "IU" for n in (8, 16, 32, 64)),
}
_FLOAT8 = {
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}
_NOT_READ = "is of dtype {}, which is not read here; expected real numbers of 8 bits or more."

_SPARE = 1 << 26
"""Numbers that tensors may have beyond the bytes of their file, where one stands for many."""


class Checkpoint(NamedTuple):
    """What a file of weights holds."""

    path: Path  # where it was found
    tensors: dict[str, np.ndarray]  # timm's names, float32 whatever the file has
    # what `save_weights` noted in the file, and what a config.json of timm or of transformers
    # beside it says
    metadata: dict[str, str]


class _File(NamedTuple):
    """What lies in a file: its tensors by the keys that lead to them, its metadata, its bytes."""

    groups: Mapping[str, Entries]
    metadata: dict[str, str]
    size: int


def read_checkpoint(source: str | Path, state: str | None = None) -> Checkpoint:
    """Reads a file of safetensors, of torch, or of numpy (`.npz`).

    Names of other projects become timm's, by the tables of `projects`. Nothing that a file names is
    run, and no file takes more memory than its own size explains.

    Args:
        state: which weights, where the file holds several: the key of their dictionary, or the
            prefix of their names. The moving average (EMA) by default, as in timm.

    Raises UserError: there is no such file, it is damaged, or it is of another kind.
    """
    path = locate(source)
    with _explaining(path):
        file = _open(path)
        chosen = choose_state(file.groups, state, path)
        count = sum(math.prod(entry.shape) for entry in chosen.entries.values())
        if count > file.size + _SPARE:
            raise ValueError(f"it declares {count:,} numbers")
        tensors = {
            name: _float32(path, name, entry.read()) for name, entry in chosen.entries.items()
        }
        project = recognize(tensors)
        renamed = project.to_timm(tensors) if project else tensors
    if project and renamed.keys() != tensors.keys():
        logging.info("%s has the names of %s.", path, project.title)
    if state is None and chosen.others:
        logging.warning(
            "%s holds several sets of weights: %s is taken, and not %s; state=NAME (--state=NAME)"
            " takes another.",
            *(path, chosen.name, ", ".join(chosen.others[:20])),
        )
    family = {"family": project.family} if project and project.family else {}
    return Checkpoint(path, renamed, family | _noted_beside(source, path) | file.metadata)


def read_metadata(source: str | Path) -> dict[str, str]:
    """The metadata of `read_checkpoint` as far as they are known without the weights."""
    path = locate(source)
    with _explaining(path):
        with path.open("rb") as file:
            is_safetensors = file.read(9)[8:] == b"{"
        metadata = _safetensors(path).metadata() if is_safetensors else None
    return _noted_beside(source, path) | (metadata or {})


def _noted_beside(source: str | Path, path: Path) -> dict[str, str]:
    """What the name of timm's repository, or a config.json, says of the file at `path`."""
    name = timm_repository(source)
    return ({"model": name} if name else {}) | notes_beside(path)


def write_checkpoint(
    path: epath.PathLike, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Writes safetensors, whole or not at all; the same bytes for the same arguments.

    Raises UserError: the file cannot be written.
    """
    # safetensors copies the memory of an array as it lies, whatever its strides.
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    data = safetensors.numpy.save(contiguous)
    # It would also write the metadata in another order each time.
    end = 8 + int.from_bytes(data[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    text = json.dumps(header | json.loads(data[8:end]), separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write_bytes(path, b"".join((len(text).to_bytes(8, "little"), text, data[end:])))


def _open(path: Path) -> _File:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(64)
    if start[8:9] == b"{":
        opened = _safetensors(path)
        return _File({"": _safetensors_entries(path, opened)}, opened.metadata() or {}, size)
    if start.startswith(b"{"):
        return _open_shards(path)
    is_zip = start.startswith(b"PK")
    if is_zip and all(name.endswith(".npy") for name in zipfile.ZipFile(path).namelist()):
        return _File({"": _numpy_entries(path)}, {}, size)
    if start.startswith((b"PK", b"\x80")):
        return _File(read_torch(path), {}, size)
    raise UserError(
        f"{path} is no file of weights: {_describe(start)}. Expected safetensors, a state"
        " dictionary that torch.save wrote, or arrays that numpy.savez wrote."
    )


def _open_shards(path: Path) -> _File:
    """The files that an index names, as one."""
    index = json.loads(path.read_bytes())
    names = set(index["weight_map"].values()) if "weight_map" in index else ()
    shards = [path.with_name(name) for name in sorted(names)]
    lost = [shard.name for shard in shards if shard.parent != path.parent or not shard.is_file()]
    if lost or not shards:
        raise UserError(
            f"{path} is no index of files beside it: it names {', '.join(lost) or 'none'}."
        )
    parts = [_open(shard) for shard in shards]
    entries = {name: entry for part in parts for name, entry in part.groups.get("", {}).items()}
    return _File({"": entries}, {}, sum(part.size for part in parts))


def _numpy_entries(path: Path) -> Entries:
    """Arrays by their names, with dots where they have slashes."""
    arrays = np.load(path, allow_pickle=False)
    entries = {}
    for name in arrays.files:
        with arrays.zip.open(f"{name}.npy") as file:
            is_first = np.lib.format.read_magic(file) == (1, 0)
            first, later = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
            shape = (first if is_first else later)(file)[0]
        read = functools.partial(arrays.__getitem__, name)
        entries[name.replace("/", ".")] = Entry(shape, read)
    return entries


def _safetensors(path: Path) -> Any:
    return safetensors.safe_open(path, framework="np")


def _safetensors_entries(path: Path, file: Any) -> Entries:
    @functools.cache
    def raw() -> dict[str, Any]:
        return dict(safetensors.deserialize(path.read_bytes()))

    def read(name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        if dtype in _FLOAT8:  # the library has no numpy for them
            return np.frombuffer(raw()[name]["data"], _FLOAT8[dtype]).reshape(shape)
        if dtype not in _READ:
            raise UserError(f"{path}: {name} {_NOT_READ.format(dtype)}")
        return file.get_tensor(name)

    entries = {}
    for name in file.keys():  # noqa: SIM118
        view = file.get_slice(name)
        shape = tuple(view.get_shape())
        entries[name] = Entry(shape, functools.partial(read, name, view.get_dtype(), shape))
    return entries


def _float32(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "c":
        raise UserError(f"{path}: {name} {_NOT_READ.format(array.dtype)}")
    with np.errstate(over="ignore"):  # what is not finite is told where it is used
        return np.asarray(array, np.float32)


@contextlib.contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Turns what goes wrong in the body into a UserError that says why the file cannot be read."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # a damaged file can fail in any way
        reason = textwrap.shorten(str(error), 200) or type(error).__name__
        raise UserError(f"{path} is damaged ({reason}); download or copy it again.") from error


def _describe(start: bytes) -> str:
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS (git lfs pull fetches the file itself)"
    if start.lstrip().startswith(b"<"):
        return "it is a web page (was it a link to a page rather than to the file?)"
    return f"it starts with {start[:8]!r}"
