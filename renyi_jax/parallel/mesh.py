"""The mesh: every device of the run, on three axes."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
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

    Raises:
        UserError: the sizes do not multiply to the number of devices.
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
    """A context in which `constrain` places activations; of one device, it changes nothing."""
    return jax.set_mesh(mesh) if mesh.size > 1 else contextlib.nullcontext()


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
