"""The mesh: every device of the run, on three axes, and what lies where on it."""

import contextlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Shaped

from renyi_jax.errors import UserError

AXES = ("data", "fsdp", "tensor")
"""Copies of the model; shards of its weights; shards of its heads and hidden units."""

BATCH_AXES = ("data", "fsdp")
"""What the images of a batch are spread over: each device of these sees other images."""


Axes = Sequence[str | tuple[str, ...] | None]
"""The axis or axes of the mesh for each dimension of an array."""


def make_mesh(sizes: Mapping[str, int], devices: Sequence[Any] | None = None) -> Mesh:
    """Returns the mesh of `config.mesh`, laid over the devices so that neighbours are near.

    One of the `sizes` of `AXES` may be -1, which takes the devices that the others leave.

    Raises UserError: the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    wanted = [sizes[axis] for axis in AXES]
    known = math.prod(size for size in wanted if size != -1)
    shape = tuple(len(devices) // known if size == -1 else size for size in wanted)
    if math.prod(shape) != len(devices):
        asked = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, wanted))
        raise UserError(
            f"config.mesh ({asked}) does not fit {len(devices)} devices: its sizes must multiply to"
            f" {len(devices)}; -1 stands for the devices that the other axes leave."
        )
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def on_mesh(mesh: Mesh) -> contextlib.AbstractContextManager[Any]:
    """A context in which `constrain` places activations, and layers see that there is a mesh.

    Of one device that is no TPU, it changes nothing.
    """
    is_seen = mesh.size > 1 or mesh.devices.flat[0].platform == "tpu"
    return jax.set_mesh(mesh) if is_seen else contextlib.nullcontext()


def constrain(
    array: Shaped[Array, "*shape"], *axes: str | tuple[str, ...] | None
) -> Shaped[Array, "*shape"]:
    """Spreads an activation over the mesh of `on_mesh`; outside, returns the array as it is.

    `axes` are the axis or axes of the mesh for each dimension; None keeps it whole, as does an axis
    that does not divide it.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return array
    return jax.lax.with_sharding_constraint(array, fitting(axes, array.shape, mesh.shape))


def per_shard(
    function: Callable[..., Any],
    *arrays: Shaped[Array, "..."],
    axes: Axes = (BATCH_AXES,),
    results: Any = None,
    whole: Any = None,
) -> Any:
    """Calls `function` on a batch, of which each device runs what it holds.

    XLA's partitioner would gather the whole batch on every device for `top_k` and for kernels.

    Args:
        function: of the arrays and, if there is one, of `whole`; works on each image by itself, and
            on each head if `axes` cut them.
        axes: of the mesh, for each dimension of the arrays, as in `constrain`.
        results: a `PartitionSpec` of the same axes for each result; by default the batch is cut.
        whole: a pytree that every device gets whole.
    """
    operands = arrays if whole is None else (*arrays, whole)
    mesh = jax.sharding.get_abstract_mesh()
    cut = PartitionSpec() if mesh.empty else fitting(axes, arrays[0].shape, mesh.shape)
    if not any(cut):
        return function(*operands)

    def without_the_rest(spec: PartitionSpec) -> PartitionSpec:
        return PartitionSpec(*(axis if axis in cut else None for axis in spec))

    places = (*[cut] * len(arrays), PartitionSpec())[: len(operands)]
    outputs = PartitionSpec(BATCH_AXES) if results is None else results
    outputs = jax.tree.map(
        without_the_rest, outputs, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec)
    )
    # A kernel does not say along which axes its results vary, which check_vma would ask for.
    return jax.shard_map(function, in_specs=places, out_specs=outputs, check_vma=False)(*operands)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Arrays that every process has alike, as they shall lie on the mesh."""
    return jax.device_put(jax.tree.map(np.asarray, tree), sharding)


def fitting(axes: Axes, shape: Sequence[int], sizes: Mapping[str, int]) -> PartitionSpec:
    """`axes` as a PartitionSpec, without those that do not divide their dimension."""

    def size(axis: str | tuple[str, ...] | None) -> int:
        names = (axis,) if isinstance(axis, str) else axis or ()
        return math.prod(sizes[name] for name in names)

    return PartitionSpec(
        *(axis if length % size(axis) == 0 else None for axis, length in zip(axes, shape))
    )


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


def shared_batch(mesh: Mesh, at_least: int) -> int:
    """Returns the smallest batch of at least so many images that the devices can share."""
    shards = spread(mesh)
    return -(-at_least // shards) * shards


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


RULES: tuple[tuple[str, tuple[str | tuple[str, ...] | None, ...]], ...] = (
    # The columns of qkv are query, key and value, one after the other, and each head has a share
    # of all three: no cut of the columns is a cut between heads. So its rows are cut by both axes,
    # and the heads are separated when it is used.
    (r"attn/qkv/kernel", (("fsdp", "tensor"), None)),
    # Megatron's pairing (Shoeybi et al. 2019, arXiv 1909.08053, section 3): cut by columns, then by
    # rows, so that a pair of products needs one sum over the axis.
    (r"attn/proj/kernel", ("tensor", "fsdp")),
    (r"mlp/(fc1|fc1_g|fc1_x)/kernel", ("fsdp", "tensor")),
    (r"mlp/(fc1|fc1_g|fc1_x)/bias", ("tensor",)),
    (r"mlp/fc2/kernel", ("tensor", "fsdp")),
    (r"(patch_embed/proj|head|head_dist|attn_pool/(q|kv|proj))/kernel", ("fsdp", None)),
)
"""Patterns of names, of which the first that ends a name holds; what none matches, which is small,
lies whole on every device. An axis that does not divide its dimension is left out."""


def state_shardings(mesh: Mesh | AbstractMesh, state: Any) -> Any:
    """Returns the `NamedSharding` of every array of a state, in the same tree.

    Paths end with the names of the model's parameters, as in the weights, the optimiser's moments
    and their moving average. Leaves are arrays, or have their shapes.
    """

    def sharding(path: Any, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        for pattern, axes in RULES:
            if re.search(rf"(^|/){pattern}$", name):
                return NamedSharding(mesh, fitting(axes, leaf.shape, mesh.shape))
        return NamedSharding(mesh, PartitionSpec())

    return jax.tree_util.tree_map_with_path(sharding, state)
