"""Which implementation of attention runs: the one place where it is decided, and why."""

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from renyi_jax.attention import chunked, pallas_gpu, pallas_tpu
from renyi_jax.attention.running import order_scalars

PLAIN_TOKENS = 640
"""With more tokens than this the attention matrix is not held.

On the CPU both take as long (docs/speed.md), so memory decides: the logits of an image of 384
pixels (577 tokens, 6 heads) are 8 MB, and training at the usual sizes keeps the attention rather
than compute it twice. On no accelerator was the number measured.
"""


def forward(*arguments):
    """`chunked.forward`, or what stands in for it on the platform that is compiled for."""
    return jax.lax.platform_dependent(
        *arguments,
        tpu=with_scalars(_TPU_FORWARD),
        cuda=with_scalars(_GPU_FORWARD),
        default=chunked.forward,
    )


def backward(*arguments):
    """`chunked.backward`, or what stands in for it on the platform that is compiled for."""
    return jax.lax.platform_dependent(
        *arguments,
        tpu=with_scalars(_TPU_BACKWARD),
        cuda=with_scalars(_GPU_BACKWARD),
        default=chunked.backward,
    )


def with_scalars(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel that is called with alpha, or None, in the place of the scalars that it reads."""

    def run(*arguments):
        *arrays, alpha = arguments
        return kernel(*arrays) if alpha is None else kernel(*arrays, order_scalars(alpha))

    return run


def per_device(function: Callable[..., Any], operands: str, results: str) -> Callable[..., Any]:
    """`function`, of which each device runs its own images and heads: no compiler splits a kernel.

    Args:
        function: of arrays, of which the first has axes b and h.
        operands: the axes of the first operands; what follows is whole on every device.
        results: the axes of the results.
    """
    spread = custom_partitioning(lambda *arrays: function(*arrays))

    def rule(mesh, types, _):
        more = [f"k{i}" for i in range(len(types) - operands.count(",") - 1)]
        return f"{', '.join((operands, *more))} -> {results}", {
            "need_replication_factors": ("n", "m", "d", *more)
        }

    def partition(mesh, arguments, outputs):
        images_and_heads = tuple(jax.tree.leaves(arguments)[0].sharding.spec)[:2]

        def place(array):
            return NamedSharding(mesh, PartitionSpec(*images_and_heads[: array.ndim - 1]))

        return mesh, function, jax.tree.map(place, outputs), jax.tree.map(place, arguments)

    spread.def_partition(partition, sharding_rule=rule)
    return spread


_QKV = "b h n d, b h m d, b h m d"
_ROWS = "b h n, b h n, b h n"
_COTANGENTS = "b h n d, b h n, b h n"


_TPU_FORWARD = per_device(pallas_tpu.forward, _QKV, f"b h n d, {_ROWS}")
_TPU_BACKWARD = per_device(pallas_tpu.backward, f"{_QKV}, {_ROWS}, {_COTANGENTS}", _QKV)
_GPU_FORWARD = per_device(pallas_gpu.forward, _QKV, f"b h n d, {_ROWS}")
_GPU_BACKWARD = per_device(pallas_gpu.backward, f"{_QKV}, {_ROWS}, {_COTANGENTS}", _QKV)
