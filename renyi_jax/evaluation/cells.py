"""Finished measurements on disk."""

import json

from etils import epath

from renyi_jax.evaluation.metrics import Outcomes
from renyi_jax.evaluation.run import Measurement
from renyi_jax.evaluation.store import Identity, Store


class Cells:
    """The measurements in a folder: of each the outcome of every test image, and speeds."""

    def __init__(self, folder: epath.Path):
        self._store = Store(folder)

    def load(self, identity: Identity) -> tuple[Measurement, float] | None:
        """The measurement, and the plain model's speed beside it; None if there is none."""
        held = self._store.load(identity, (*Outcomes._fields, "tokens", "measured"))
        if held is None:
            return None
        measured = json.loads(str(held.pop("measured")))
        tokens = held.pop("tokens")
        measurement = Measurement(
            Outcomes(**held), tokens, measured["images_per_second"], measured["peak_memory"]
        )
        return measurement, measured["plain_images_per_second"]

    def save(self, identity: Identity, measurement: Measurement, plain_speed: float) -> None:
        """Writes the measurement, whole or not at all."""
        measured = {
            "images_per_second": measurement.images_per_second,
            "plain_images_per_second": plain_speed,
            "peak_memory": measurement.peak_memory,
        }
        arrays = {
            **measurement.outcomes._asdict(),
            "tokens": measurement.tokens,
            "measured": json.dumps(measured),
        }
        self._store.save(identity, arrays)
