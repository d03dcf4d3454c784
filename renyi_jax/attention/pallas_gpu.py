"""Streaming attention as a Pallas kernel for GPUs, by Triton.

A program holds one tile of queries (for the gradient of keys and values: one of keys) and goes over
all tiles of the others. Heads are widened by zeros to a power of two, which Triton wants; tokens
that fill the last tile up are masked as keys, and cut off as queries.

No library does this in its place: the logsumexp that cuDNN's attention returns through
`jax.nn.dot_product_attention` is rounded to the dtype of the operands and has no gradient, and a
difference of two such numbers is no entropy.
"""

import functools
import math
import os
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float

from renyi_jax.attention import columns
from renyi_jax.attention.chunked import logit_cotangents
from renyi_jax.attention.evidence import ColumnSums
from renyi_jax.attention.online_softmax import (
    MASKED,
    RowStatistics,
    fold,
    no_keys,
    order_from,
    statistics,
)

TILE = 64  # queries, and keys, of a tile, whose logits a program keeps in registers

WARPS = 4  # of a program

SMALLEST_WIDTH = 16  # of a product's operands, for tensor cores


def run_here() -> bool:
    """Whether these kernels stand in on GPUs, and the library's: where this process has one.

    Triton lowers for a device that it sees; what is lowered for another machine is XLA's. So is all
    with RENYI_JAX_GPU_KERNELS=0.
    """
    is_on = os.environ.get("RENYI_JAX_GPU_KERNELS", "1") != "0"
    return is_on and jax.default_backend() == "gpu"


def forward(
    query: Float[Array, "b h n d"],
    key: Float[Array, "b h m d"],
    value: Float[Array, "b h m d"],
    scalars: Float[Array, "4"] | None = None,
    *,
    interpret: bool = False,
) -> tuple[Float[Array, "b h n d"], RowStatistics]:
    """As `chunked.forward`."""
    heads, queries, width = _sizes(query)
    tokens = _tile_of(width)
    statistic = jax.ShapeDtypeStruct((heads, _padded_length(queries)), jnp.float32)
    attended, *rows = _call(
        functools.partial(_forward_kernel, key.shape[2], scalars is not None),
        scalars,
        operands=[(_flat(query), tokens), (_flat(key), _WHOLE), (_flat(value), _WHOLE)],
        outputs=[
            (jax.ShapeDtypeStruct(_flat_shape(query), value.dtype), tokens),
            *[(statistic, _tile_of())] * 3,
        ],
        interpret=interpret,
    )
    rows = (each[:, :queries].reshape(query.shape[:3]) for each in rows)
    return _as(attended, query), RowStatistics(*rows)


def backward(
    query: Float[Array, "b h n d"],
    key: Float[Array, "b h m d"],
    value: Float[Array, "b h m d"],
    rows: RowStatistics,
    d_attended: Float[Array, "b h n d"],
    shift: Float[Array, "b h n"],
    d_entropy: Float[Array, "b h n"],
    scalars: Float[Array, "4"] | None = None,
    *,
    interpret: bool = False,
) -> tuple[Float[Array, "b h n d"], Float[Array, "b h m d"], Float[Array, "b h m d"]]:
    """As `chunked.backward`."""
    static = key.shape[2], scalars is not None
    tokens = _tile_of(_sizes(query)[2])
    of_queries = [_flat(query), _flat(d_attended), *map(_flat_rows, (*rows, shift, d_entropy))]
    of_keys = [_flat(key), _flat(value)]
    specs = [tokens, tokens, *[_tile_of()] * 5]
    (d_query,) = _call(
        functools.partial(_query_kernel, *static),
        scalars,
        operands=[*zip(of_queries, specs), *((each, _WHOLE) for each in of_keys)],
        outputs=[(jax.ShapeDtypeStruct(_flat_shape(query), query.dtype), tokens)],
        interpret=interpret,
    )
    d_key, d_value = _call(
        functools.partial(_key_kernel, *static),
        scalars,
        operands=[*((each, _WHOLE) for each in of_queries), *((each, tokens) for each in of_keys)],
        outputs=[
            (jax.ShapeDtypeStruct(_flat_shape(each), each.dtype), tokens) for each in (key, value)
        ],
        interpret=interpret,
    )
    return _as(d_query, query), _as(d_key, key), _as(d_value, value)


def column_sums(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    num_prefix: int,
    asked: ColumnSums,
    weights: Float[Array, "b h m"],
    *,
    interpret: bool = False,
) -> Float[Array, "b h m"]:
    """As `columns.column_sums`; it has no gradient.

    What normalises a row comes from `forward`, which attends to the keys in place of values.
    """
    query, key = (jnp.swapaxes(each, 1, 2) for each in (query * query.shape[-1] ** -0.5, key))
    counted = key[:, :, num_prefix if asked.normalize else 0 :]
    query, key = query[:, :, num_prefix:], key[:, :, num_prefix:]
    rows = forward(query, counted, counted, interpret=interpret)[1]
    of_queries = _flat(query), _flat_rows(rows.top + rows.log_z), _flat_rows(weights)
    keys = _flat(key)
    (sums,) = _call(
        _columns_kernel,
        jnp.reshape(jnp.asarray(asked.power, jnp.float32), 1),
        operands=[*((each, _WHOLE) for each in of_queries), (keys, _tile_of(keys.shape[2]))],
        outputs=[(jax.ShapeDtypeStruct(keys.shape[:2], jnp.float32), _tile_of())],
        interpret=interpret,
    )
    return sums[:, : weights.shape[2]].reshape(weights.shape)


# The kernels


def _forward_kernel(num_keys, with_entropy, scalars, query, key, value, attended, *rows):
    order = order_from(scalars) if with_entropy else None
    queries = query[...]

    def step(block, carry):
        running, sums = carry
        place = pl.ds(block * TILE, TILE)
        logits = _masked(_dot(queries, key[place, :].T), block, num_keys)
        running, z, shrink = fold(running, logits, order, axis=-1)
        return running, sums * shrink + _dot(z.astype(value.dtype), value[place, :])

    start = no_keys((TILE, 1)), jnp.zeros(query.shape, jnp.float32)
    running, sums = jax.lax.fori_loop(0, key.shape[0] // TILE, step, start)
    attended[...] = (sums / (1 + running.rest)).astype(attended.dtype)
    for ref, each in zip(rows, statistics(running, order)):
        ref[...] = each.reshape(TILE)


def _query_kernel(num_keys, with_entropy, scalars, query, d_attended, *refs):
    *per_query, key, value, d_query = refs
    order = order_from(scalars) if with_entropy else None
    tile = query[...], d_attended[...], *(ref[...] for ref in per_query)

    def step(block, sums):
        place = pl.ds(block * TILE, TILE)
        keys = key[place, :]
        _, d_logits = _cotangents(tile, keys, value[place, :], block, num_keys, order)
        return sums + _dot(d_logits.astype(keys.dtype), keys)

    start = jnp.zeros(query.shape, jnp.float32)
    sums = jax.lax.fori_loop(0, key.shape[0] // TILE, step, start)
    d_query[...] = sums.astype(d_query.dtype)


def _key_kernel(num_keys, with_entropy, scalars, query, d_attended, *refs):
    *per_query, key, value, d_key, d_value = refs
    order = order_from(scalars) if with_entropy else None
    keys, values, key_block = key[...], value[...], pl.program_id(1)

    def step(block, sums):
        place = pl.ds(block * TILE, TILE)
        tile = query[place, :], d_attended[place, :], *(ref[place] for ref in per_query)
        weights, d_logits = _cotangents(tile, keys, values, key_block, num_keys, order)
        return (
            sums[0] + _dot(d_logits.astype(keys.dtype).T, tile[0]),
            sums[1] + _dot(weights.astype(values.dtype).T, tile[1]),
        )

    start = jnp.zeros(key.shape, jnp.float32), jnp.zeros(key.shape, jnp.float32)
    key_sums, value_sums = jax.lax.fori_loop(0, query.shape[0] // TILE, step, start)
    d_key[...] = key_sums.astype(d_key.dtype)
    d_value[...] = value_sums.astype(d_value.dtype)


def _columns_kernel(scalars, query, log_z, weights, key, sums):
    keys, power = key[...], scalars[0]

    def step(block, carry):
        place = pl.ds(block * TILE, TILE)
        log_a = _dot(query[place, :], keys.T) - log_z[place][:, None]
        return columns.add_rows(carry, log_a, weights[place][:, None], power)

    start = jnp.full((1, TILE), columns.LOWEST, jnp.float32), jnp.zeros((1, TILE), jnp.float32)
    carry = jax.lax.fori_loop(0, query.shape[0] // TILE, step, start)
    sums[...] = columns.logarithm(carry, power).reshape(TILE)


def _cotangents(tile, keys, values, key_block, num_keys, order):
    queries, d_attended, *per_query = tile
    top, log_z, spread, shift, d_entropy = (each[:, None] for each in per_query)
    t = _masked(_dot(queries, keys.T), key_block, num_keys) - top
    rows = RowStatistics(top, log_z, spread)
    return logit_cotangents(t, _dot(d_attended, values.T), rows, shift, d_entropy, order)


def _dot(left, right):
    return jnp.dot(left, right, preferred_element_type=jnp.float32)


def _masked(logits, key_block, num_keys):
    if num_keys % TILE == 0:
        return logits
    keys = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 1) + key_block * TILE
    return jnp.where(keys < num_keys, logits, MASKED)


# How the arrays are cut


_WHOLE = None


def _tile_of(*width: int) -> pl.BlockSpec:
    """A program's own tile of the tokens of its head."""
    return pl.BlockSpec(
        (None, TILE, *width), lambda head, block: (head, block, *(0 for _ in width))
    )


def _call(kernel, scalars, operands, outputs, interpret: bool) -> Any:
    """The kernel, one program for each head and tile of the first output."""

    def spec(array, cut):
        if cut is not _WHOLE:
            return cut
        zeros = (0,) * (len(array.shape) - 1)
        return pl.BlockSpec((None, *array.shape[1:]), lambda head, block: (head, *zeros))

    scalars = jnp.zeros(4, jnp.float32) if scalars is None else scalars
    first = outputs[0][0]
    return pl.pallas_call(
        kernel,
        grid=(first.shape[0], first.shape[1] // TILE),
        in_specs=[
            pl.BlockSpec(scalars.shape, lambda head, block: (0,)),
            *(spec(*operand) for operand in operands),
        ],
        out_specs=[spec(*output) for output in outputs],
        out_shape=[shape for shape, _ in outputs],
        compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=2),
        interpret=interpret,
    )(scalars, *(array for array, _ in operands))


def _sizes(tokens) -> tuple[int, int, int]:
    batch, heads, length, width = tokens.shape
    return batch * heads, length, max(SMALLEST_WIDTH, 2 ** math.ceil(math.log2(width)))


def _padded_length(length: int) -> int:
    return math.ceil(length / TILE) * TILE


def _flat_shape(tokens) -> tuple[int, int, int]:
    heads, length, width = _sizes(tokens)
    return heads, _padded_length(length), width


def _flat(tokens):
    shape = _flat_shape(tokens)
    flat = tokens.reshape(shape[0], *tokens.shape[2:])
    return jnp.pad(flat, [(0, to - size) for to, size in zip(shape, flat.shape)])


def _flat_rows(rows):
    flat = rows.astype(jnp.float32).reshape(-1, rows.shape[2])
    return jnp.pad(flat, ((0, 0), (0, _padded_length(rows.shape[2]) - rows.shape[2])))


def _as(flat, tokens):
    return flat[:, : tokens.shape[2], : tokens.shape[3]].reshape(tokens.shape)
