"""Finished work on disk: one file of arrays for each, found again by what decides its content."""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from etils import epath

from renyi_jax.files import writing

Identity = dict[str, Any]


class Store:
    """The files in a folder, one `.npz` each.

    A file is named by a digest of the identity of what it holds, which stands in it in words too
    (`identity`, JSON), so that anyone can read it with numpy alone.
    """

    def __init__(self, folder: epath.Path):
        self._folder = folder

    def load(self, identity: Identity, names: Iterable[str]) -> dict[str, np.ndarray] | None:
        """The arrays of these names; None if there is no such file, or it is broken."""
        try:
            with self._path(identity).open("rb") as file, np.load(file, allow_pickle=False) as held:
                if json.loads(str(held["identity"])) == identity:
                    return {name: held[name] for name in names}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass
        return None

    def save(self, identity: Identity, arrays: Mapping[str, Any]) -> None:
        """Writes the arrays, all or none."""
        with writing(self._path(identity)) as file:
            np.savez_compressed(file, identity=_json(identity), **arrays)

    def _path(self, identity: Identity) -> epath.Path:
        digest = hashlib.sha256(_json(identity).encode()).hexdigest()[:24]
        return self._folder / f"{digest}.npz"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
