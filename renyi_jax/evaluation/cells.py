"""Finished measurements on disk: one file for each, found again by what was measured."""

import hashlib
import json
import zipfile
from typing import Any

import numpy as np
from etils import epath

from renyi_jax.evaluation.metrics import Outcomes
from renyi_jax.evaluation.run import Measurement

Identity = dict[str, Any]


class Cells:
    """The measurements in a folder, one `.npz` each: the outcome of every test image, and speeds.

    A file is named by a digest of the identity of what it holds, which stands in it in words too
    (`identity`, JSON), so that anyone can read it with numpy alone.
    """

    def __init__(self, folder: epath.Path):
        self._folder = folder

    def load(self, identity: Identity) -> tuple[Measurement, float] | None:
        """The measurement, and the plain model's speed beside it; None if there is none.

        A file that is broken counts for none.
        """
        path = self._path(identity)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as cell:
                if json.loads(str(cell["identity"])) != identity:
                    return None
                outcomes = Outcomes(*(cell[name] for name in Outcomes._fields))
                measured = json.loads(str(cell["measured"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        measurement = Measurement(outcomes, measured["images_per_second"], measured["peak_memory"])
        return measurement, measured["plain_images_per_second"]

    def save(self, identity: Identity, measurement: Measurement, plain_speed: float) -> None:
        """Writes the measurement, whole or not at all."""
        path = self._path(identity)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.part")
        measured = {
            "images_per_second": measurement.images_per_second,
            "plain_images_per_second": plain_speed,
            "peak_memory": measurement.peak_memory,
        }
        with beside.open("wb") as file:
            np.savez_compressed(
                file,
                identity=_json(identity),
                measured=_json(measured),
                **measurement.outcomes._asdict(),
            )
        beside.replace(path)

    def _path(self, identity: Identity) -> epath.Path:
        digest = hashlib.sha256(_json(identity).encode()).hexdigest()[:24]
        return self._folder / f"{digest}.npz"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
