"""Finished work on disk: one file of arrays for each, found again by what decides its content."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import jax
import numpy as np
from absl import logging
from etils import epath

from renyi_jax.common.files import writing

Identity = dict[str, Any]


class Store:
    """A folder with one `.npz` for each piece of finished work.

    Its name is a digest of its identity, which it also holds as JSON, so that numpy alone reads it.
    """

    def __init__(self, folder: epath.Path):
        self._folder = folder

    def load(
        self, identity: Identity, expected: Mapping[str, jax.ShapeDtypeStruct]
    ) -> dict[str, np.ndarray] | None:
        """The arrays, of the expected names, shapes and types; None if there is no such file.

        A file that holds anything else counts for none, with a word in the log.
        """
        path = self._path(identity)
        if not path.is_file():
            return None
        try:
            with path.open("rb") as file:
                return _read(file, identity, expected)
        except Exception as error:  # Whatever a damaged file raises, its content can be computed.
            reason = f"{type(error).__name__}: {error}"
            logging.warning("%s is damaged, and is computed again (%s).", path, reason)
            return None

    def save(self, identity: Identity, arrays: Mapping[str, Any]) -> None:
        """Writes the arrays, all or none."""
        with writing(self._path(identity)) as file:
            np.savez_compressed(file, identity=_json(identity), **arrays)

    def _path(self, identity: Identity) -> epath.Path:
        digest = hashlib.sha256(_json(identity).encode()).hexdigest()[:24]
        return self._folder / f"{digest}.npz"


def _read(
    file: IO[bytes], identity: Identity, expected: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, np.ndarray]:
    words = np.asarray(_json(identity))
    sizes = {"identity": words.nbytes}
    sizes |= {name: each.size * each.dtype.itemsize for name, each in expected.items()}
    with zipfile.ZipFile(file) as archive:
        for name, size in sizes.items():
            if archive.getinfo(f"{name}.npy").file_size > size + _HEADER_BYTES:
                raise ValueError(f"{name} is too large")
    file.seek(0)
    with np.load(file, allow_pickle=False) as held:
        if held["identity"] != words:
            raise ValueError("it holds something else")
        arrays = {name: held[name] for name in expected}
    for name, array in arrays.items():
        if (array.shape, array.dtype) != (expected[name].shape, expected[name].dtype):
            raise ValueError(f"{name} is {array.dtype}{list(array.shape)}")
    return arrays


_HEADER_BYTES = 1024  # more than numpy writes before an array


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
