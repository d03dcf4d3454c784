"""Batches: which rows a process prepares, and how they become one array over all devices."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from renyi_jax.errors import UserError
from renyi_jax.parallel.mesh import BATCH_AXES


class BatchPlacement:
    """Spreads the images of a global batch over the devices of a mesh.

    Attributes:
        index: which of `count` equal parts of each batch this process prepares; processes whose
            devices hold the same images prepare the same part.
    """

    def __init__(self, mesh: Mesh, batch_size: int):
        check_spread(mesh, batch_size)
        self.batch_size = batch_size
        self._sharding = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
        places = self._sharding.addressable_devices_indices_map((batch_size,)).values()
        rows = np.unique([(range(batch_size)[place[0]]) for place in places if place])
        self.index, self.count = part_of(rows, batch_size)

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """The global batch, of this process' part of it."""
        return {name: self._place(np.asarray(part)) for name, part in batch.items()}

    def _place(self, part: np.ndarray) -> jax.Array:
        first = self.index * len(part)

        def shard(index: Any) -> np.ndarray:
            start, stop, _ = index[0].indices(len(part) * self.count)
            return part[start - first : stop - first]

        shape = (len(part) * self.count, *part.shape[1:])
        return jax.make_array_from_callback(shape, self._sharding, shard)


def spread(mesh: Mesh) -> int:
    """Over how many devices the images of a batch are spread."""
    return int(np.prod([mesh.shape[axis] for axis in BATCH_AXES]))


def check_spread(mesh: Mesh, batch_size: int) -> None:
    """Raises `UserError` where the devices of the mesh cannot take equal parts of a batch."""
    shards = spread(mesh)
    if batch_size % shards:
        raise UserError(
            f"A batch of {batch_size} images cannot be spread over"
            f" {shards} devices (config.mesh, data x fsdp); expected a multiple of {shards}."
        )


def part_of(rows: np.ndarray, batch_size: int) -> tuple[int, int]:
    """The part of a batch that these rows are, as its number and the number of such parts."""
    first, length = int(rows[0]), len(rows)
    if rows[-1] - first + 1 != length or first % length or batch_size % length:
        return 0, 1  # scattered rows: this process prepares the whole batch
    return first // length, batch_size // length
