"""Reads the tensors of torch files without torch, and without running anything in them."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from renyi_jax.errors import UserError
from renyi_jax.weights.inert_pickle import Call, Name, Stored, Unpickled, read_pickle
from renyi_jax.weights.states import Entry

_DTYPES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "ComplexFloatStorage": np.complex64,
    "ComplexDoubleStorage": np.complex128,
    "UntypedStorage": np.uint8,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
}
"""By the names of torch's storages, and of the dtypes that have no storage of their own."""

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DEEPEST = 5  # dictionaries in dictionaries that are searched for tensors


class _Storage(NamedTuple):
    """A run of numbers in the file, by the name of its type."""

    kind: str
    key: str


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides count elements."""

    storage: _Storage
    kind: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch(path: Path) -> dict[str, dict[str, Entry]]:
    """Lists the tensors of a file that `torch.save` wrote, in either of its formats.

    Returns every dictionary that holds tensors by name, by the keys that lead to it with dots
    between. All else that such files hold (arguments, optimisers, numpy scalars) is passed over.

    Raises UserError: there is none, or the file is of another kind; and whatever a damaged file
    leads to.
    """
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    unpickled, fetch = _open_zip(path) if is_zip else _open_legacy(path)
    groups = _groups(unpickled.value, fetch)
    if not groups:
        message = f"{path} holds no state dictionary: no tensors by name."
        if names := [".".join(name) for name in dict.fromkeys(unpickled.names)]:
            message += (
                f" It names {', '.join(names[:5])}, and nothing but tensors is unpickled: such a"
                " file can run any program. If you trust it, save its state dictionary alone:"
                " torch.save(model.state_dict(), ...)."
            )
        raise UserError(message)
    return groups


Fetch = Callable[[_Storage], np.ndarray]


def _open_zip(path: Path) -> tuple[Unpickled, Fetch]:
    archive = zipfile.ZipFile(path)
    size = path.stat().st_size
    names = archive.namelist()
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if len(pickles) != 1 or len(set(names)) < len(names):
        raise UserError(
            f"{path} is a zip archive, but not one that torch.save wrote: it has"
            f" {len(pickles) or 'no'} data.pkl, and {len(names)} files of {len(set(names))} names."
        )
    folder = pickles[0].removesuffix("data.pkl")

    def read(name: str) -> bytes:
        nonlocal size
        entry = archive.getinfo(folder + name)
        size -= entry.file_size  # files that lie over one another add up to more than the archive
        if entry.compress_type != zipfile.ZIP_STORED or size < 0:
            raise ValueError("it declares more bytes than it has, or packs them, as torch does not")
        return archive.read(entry)

    if f"{folder}byteorder" in names and read("byteorder") != b"little":
        raise ValueError("its numbers have their bytes in another order than here")
    contents: dict[str, bytes] = {}

    def fetch(storage: _Storage) -> np.ndarray:
        if storage.key not in contents:
            contents[storage.key] = read(f"data/{storage.key}")
        return np.frombuffer(contents[storage.key], _dtype(storage.kind))

    return read_pickle(io.BytesIO(read("data.pkl"))), fetch


def _open_legacy(path: Path) -> tuple[Unpickled, Fetch]:
    """The format before torch 1.6: pickles one after another, then the storages."""
    data = path.read_bytes()
    file = io.BytesIO(data)
    if read_pickle(file).value != _LEGACY_MAGIC:
        raise UserError(f"{path} is a pickle, but not one that torch.save wrote.")
    _protocol, system = read_pickle(file), read_pickle(file).value
    if not system.get("little_endian", True):
        raise ValueError("its numbers have their bytes in another order than here")
    unpickled = read_pickle(file)
    storages = {storage.key: storage for storage in map(_storage, unpickled.stored) if storage}
    places = {}
    for key in read_pickle(file).value:
        if not isinstance(key, str) or key not in storages:
            raise ValueError("it has numbers of a kind that is not known here")
        length = int.from_bytes(file.read(8), "little")
        places[key] = (file.tell(), length)  # where numpy refuses what is beyond the file
        file.seek(length * _dtype(storages[key].kind).itemsize, io.SEEK_CUR)

    def fetch(storage: _Storage) -> np.ndarray:
        start, length = places[storage.key]
        return np.frombuffer(data, _dtype(storage.kind), length, start)

    return unpickled, fetch


def _groups(value: Any, fetch: Fetch) -> dict[str, dict[str, Entry]]:
    """Finds the dictionaries that hold tensors, each once, from the top downwards."""
    groups, seen = {}, set()
    level = [("", value)]
    for _ in range(_DEEPEST):
        below = []
        for label, node in level:
            if not isinstance(node, dict) or id(node) in seen:
                continue
            seen.add(id(node))
            tensors = {name: _tensor(entry) for name, entry in node.items()}
            if entries := {name: _entry(each, fetch) for name, each in tensors.items() if each}:
                groups[label] = entries
            below += [(f"{label}.{name}" if label else name, entry) for name, entry in node.items()]
        level = below
    return groups


def _tensor(value: Any) -> _Tensor | None:
    """What torch would build; None for all that is no dense tensor."""
    match value:
        case Call(Name(_, "_rebuild_parameter" | "_rebuild_parameter_with_state"), (inner, *_)):
            return _tensor(inner)
        case Call(Name(_, "_rebuild_from_type_v2"), (function, _, arguments, *_)):
            return _tensor(Call(function, arguments))
        case Call(
            Name("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3"),
            (Stored() as stored, offset, tuple(shape), tuple(strides), *rest),
        ):
            if not all(type(n) is int and abs(n) < 1 << 63 for n in (offset, *shape, *strides)):
                return None
            storage = _storage(stored)
            dtypes = [each.attribute for each in rest if isinstance(each, Name)]  # of v3 alone
            return storage and _Tensor(storage, (*dtypes, storage.kind)[0], offset, shape, strides)
    return None


def _storage(stored: Stored) -> _Storage | None:
    """A plain storage; None for the views of storages that torch wrote before 1.0."""
    match stored.identifier:
        case ("storage", Name("torch" | "torch.storage", kind), str(key), *rest):
            return None if any(rest[2:]) else _Storage(kind, key)
    return None


def _dtype(kind: str) -> np.dtype:
    if kind not in _DTYPES:
        raise ValueError(f"its numbers are of the kind {kind}, which is not known here")
    return np.dtype(_DTYPES[kind])


def _entry(tensor: _Tensor, fetch: Fetch) -> Entry:
    return Entry(tensor.shape, lambda: _array(tensor, fetch))


def _array(tensor: _Tensor, fetch: Fetch) -> np.ndarray:
    storage, kind, offset, shape, strides = tensor
    if min((offset, *shape, *strides)) < 0:
        raise ValueError(f"a tensor has offset {offset}, shape {shape} and strides {strides}")
    dtype = _dtype(kind)
    numbers = fetch(storage).view(dtype)
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides))
    if 0 not in shape and last >= len(numbers):  # numpy itself does not check an empty buffer
        raise ValueError(f"a tensor of shape {shape} reaches beyond its {len(numbers)} numbers")
    steps = [stride * dtype.itemsize for stride in strides]
    return np.ndarray(shape, dtype, numbers, offset * dtype.itemsize, steps)
