"""Reads the tensors of torch's files without torch, and without unpickling anything else.

A pickle is a program that may call whatever it can name. Here it can name a dictionary, torch's
storages, and the three functions that put a tensor together; these only note down where the numbers
lie. Any other name ends the reading before it is looked up.
"""

import collections
import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from renyi_jax.errors import UserError

_STORAGES = {
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
}
_WRAPPERS = ("model", "state_dict", "model_state_dict")
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class _Storage(NamedTuple):
    """A run of numbers in the file, by the name of its type."""

    kind: str
    key: str
    length: int


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


Fetch = Callable[[_Storage], np.ndarray]


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dictionary that `torch.save` wrote, in either of its formats.

    The dictionary may be the file's whole content or lie under "model", "state_dict" or
    "model_state_dict", as in training checkpoints.

    Raises:
        UserError: the file names anything but tensors, is damaged, or holds no tensors.
    """
    with path.open("rb") as file:
        reader = _read_zip if file.read(2) == b"PK" else _read_legacy
    try:
        return reader(path)
    except (UserError, OSError):
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        reason = str(error) or type(error).__name__
        raise UserError(
            f"{path} is damaged, or no file of torch ({reason}); download or copy it again."
        ) from error


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise UserError(
                f"{path} is a zip archive, but not one that torch.save wrote: it has no data.pkl."
            )
        folder = pickles[0].removesuffix("data.pkl")

        def fetch(storage: _Storage) -> np.ndarray:
            data = archive.read(f"{folder}data/{storage.key}")
            return np.frombuffer(data, _STORAGES[storage.kind])

        state = _load(io.BytesIO(archive.read(pickles[0])), path, {})
        return _tensors(state, fetch, path)


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    """The format before torch 1.6: pickles one after another, then the storages."""
    storages: dict[str, _Storage] = {}
    with path.open("rb") as file:
        magic, _protocol, _system = (_load(file, path, {}) for _ in range(3))
        if magic != _LEGACY_MAGIC:
            raise UserError(f"{path} is a pickle, but not one that torch.save wrote.")
        state = _load(file, path, storages)
        contents = {}
        for key in _load(file, path, {}):
            (length,) = struct.unpack("<q", file.read(8))
            dtype = np.dtype(_STORAGES[storages[key].kind])
            data = file.read(length * dtype.itemsize)
            contents[key] = np.frombuffer(data, dtype)
    return _tensors(state, lambda storage: contents[storage.key], path)


def _load(file: io.BufferedIOBase, path: Path, storages: dict[str, _Storage]) -> Any:
    """Unpickles tensors; notes the storages that they lie in under their keys."""

    # Made anew for each pickle: a pickle can set attributes of the functions that it names.
    def rebuild_tensor(storage, offset, shape, strides, *_unused):
        return _Tensor(storage, offset, tuple(shape), tuple(strides))

    def rebuild_parameter(tensor, *_unused):
        return tensor

    allowed: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
        **{("torch", kind): kind for kind in _STORAGES},
    }

    class TensorUnpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) not in allowed:
                raise UserError(
                    f"{path} asks to load {module}.{name}, and nothing but tensors is unpickled:"
                    " such a file can run any program. If you trust it, save its state dictionary"
                    " alone: torch.save(model.state_dict(), ...)."
                )
            return allowed[module, name]

        def persistent_load(self, saved_id: Any) -> _Storage:
            _storage, kind, key, _device, length, *_views = saved_id
            storage = _Storage(kind, key, length)
            storages[key] = storage
            return storage

    return TensorUnpickler(file).load()


def _tensors(state: Any, fetch: Fetch, path: Path) -> dict[str, np.ndarray]:
    """The tensors of the state dictionary, wherever the checkpoint keeps it."""
    while isinstance(state, dict):
        inner = next((state[key] for key in _WRAPPERS if isinstance(state.get(key), dict)), None)
        if inner is None:
            break
        state = inner
    # A pickle can hide the methods of an OrderedDict behind attributes of the same names.
    entries = dict.items(state) if isinstance(state, dict) else ()
    tensors = {
        name: _array(value, fetch)
        for name, value in entries
        if isinstance(name, str) and isinstance(value, _Tensor)
    }
    if not tensors:
        raise UserError(
            f"{path} holds no state dictionary: no tensors by name, neither at its top nor under"
            f" {', '.join(map(repr, _WRAPPERS))}."
        )
    return tensors


def _array(tensor: _Tensor, fetch: Fetch) -> np.ndarray:
    storage, offset, shape, strides = tensor
    numbers = fetch(storage)
    if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0:
        raise ValueError(f"a tensor has shape {shape} and strides {strides}")
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides))
    if math.prod(shape) > len(numbers) or (math.prod(shape) and last >= len(numbers)):
        raise ValueError(f"a tensor of shape {shape} reaches beyond its {len(numbers)} numbers")
    steps = [stride * numbers.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps)
