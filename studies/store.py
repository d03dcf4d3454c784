"""Finished cells on disk: one file for each, found again by what decides its content."""

import hashlib
import json
import zipfile
from typing import Any, NamedTuple

import numpy as np
from etils import epath

Identity = dict[str, Any]


class Store:
    """The cells in a folder, one `.npz` each: arrays, and their identity in words (JSON)."""

    def __init__(self, folder: epath.Path):
        self._folder = folder

    def load(self, identity: Identity, kind: Any) -> Any:
        """The cell as `kind`, a NamedTuple of arrays; None if there is none, or it is broken."""
        try:
            with self._path(identity).open("rb") as file, np.load(file, allow_pickle=False) as cell:
                if json.loads(str(cell["identity"])) == identity:
                    return kind(*(cell[name] for name in kind._fields))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass
        return None

    def save(self, identity: Identity, cell: NamedTuple) -> None:
        """Writes the cell, whole or not at all."""
        path = self._path(identity)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.part")
        with beside.open("wb") as file:
            np.savez_compressed(file, identity=_json(identity), **cell._asdict())
        beside.replace(path)

    def _path(self, identity: Identity) -> epath.Path:
        digest = hashlib.sha256(_json(identity).encode()).hexdigest()[:24]
        return self._folder / f"{digest}.npz"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
