"""Attention as Pallas kernels for TPUs: rows of logits that never leave the chip.

A program holds some queries of an image, all of its keys and values, and the logits between them,
so that a row's softmax and entropy are those of the whole row, and nothing is kept for the gradient
but query, key and value. Sums of columns gather over the queries, which come in their order.
"""

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Float32

from renyi_jax.attention import chunked, columns
from renyi_jax.attention.evidence import ColumnSums, RowEntropy
from renyi_jax.attention.online_softmax import (
    fold,
    no_keys,
    order_from,
    order_scalars,
    statistics,
)
from renyi_jax.attention.tpu_tiles import (
    LANES,
    QUERIES_IN_ORDER,
    SCALARS,
    Tiles,
    axis,
    contract,
    dot_rows,
)
from renyi_jax.entropy import slope_in_logits

LONGEST = 8704
"""Bytes of the tokens of one lane at most: with the keys of 4,352 tokens in bfloat16, or of half as
many in float32, the gradient still fits into the 16 MiB that a kernel may take."""


def takes(query: Float[Array, "b n h d"], num_prefix: int, entropy_of: RowEntropy | None) -> bool:
    """Whether the kernels run on TPUs; with RENYI_JAX_TPU_KERNELS=0 all is left to XLA.

    Their grids count images, which an artifact leaves open.
    """
    if os.environ.get("RENYI_JAX_TPU_KERNELS") == "0":
        return False
    if not all(isinstance(size, int) for size in query.shape):
        return False
    if query.shape[1] * query.dtype.itemsize > LONGEST or query.shape[3] > LANES:
        return False
    return entropy_of is None or entropy_of.normalize or entropy_of.prefix_keys or not num_prefix


def attention(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    value: Float[Array, "b n h d"],
    num_prefix: int,
    entropy_of: RowEntropy | None,
    *,
    interpret: bool = False,
) -> tuple[Float[Array, "b n h d"], Float32[Array, "b h m"] | None]:
    """As `plain.attention_and_entropy`, for what it `takes`; `interpret` runs on any device."""
    width = query.shape[-1]
    query, key, value = map(_widened, (query, key, value))
    if entropy_of is None:
        outputs: Any = _attention(query, key, value, None, 0, width, interpret)
        return outputs[0][..., :width], None
    alpha = jnp.asarray(entropy_of.alpha, jnp.float32)
    first = 0 if entropy_of.prefix_keys else num_prefix
    outputs = _attention(query, key, value, alpha, first, width, interpret)
    attended, entropy = outputs
    entropy = jnp.where(alpha > 0, entropy, jnp.nan)  # a traced order cannot be refused
    return attended[..., :width], entropy[:, :, num_prefix:]


def column_sums(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    num_prefix: int,
    asked: ColumnSums,
    weights: Float[Array, "b h m"],
    *,
    interpret: bool = False,
) -> Float32[Array, "b h m"]:
    """As `columns.column_sums`, for what it `takes`; it has no gradient."""
    width = query.shape[-1]
    query, key = _widened(query), _widened(key)
    tiles = Tiles.of(query, num_prefix if asked.normalize else 0, width)
    of_rows = jnp.pad(weights.astype(jnp.float32), ((0, 0), (0, 0), (num_prefix, 0)))
    sums = pl.pallas_call(
        functools.partial(_columns_kernel, tiles),
        grid=tiles.grid,
        in_specs=[SCALARS, tiles.of_queries, tiles.of_keys, tiles.per_query],
        out_specs=tiles.per_key,
        out_shape=jax.ShapeDtypeStruct(tiles.per_key_shape, jnp.float32),
        scratch_shapes=[pltpu.VMEM((tiles.heads_here, tiles.keys), jnp.float32)] * 2,
        compiler_params=QUERIES_IN_ORDER,
        cost_estimate=tiles.cost(products=1, arrays=(query, key)),
        interpret=interpret,
    )(
        jnp.reshape(jnp.asarray(asked.power, jnp.float32), 1),
        *map(tiles.flat, (query, key)),
        tiles.to_per_query(of_rows),
    )
    return tiles.from_per_key(sums)[:, :, num_prefix:]


def _widened(tokens):
    """With zeros up to the least width that divides the lanes of a register."""
    width = tokens.shape[-1]
    missing = (1 << (width - 1).bit_length()) - width
    return jnp.pad(tokens, ((0, 0), (0, 0), (0, 0), (0, missing))) if missing else tokens


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def _attention(query, key, value, alpha, first, width, interpret) -> Any:
    """Attention, and the entropies of all rows `[b, h, n]` over the keys from `first` on."""
    result: Any = _forward(query, key, value, alpha, first, width, interpret)
    return result[0]


@functools.partial(jax.jit, static_argnums=(4, 5, 6))  # traced once for all blocks
def _forward(query, key, value, alpha, first, width, interpret):
    tiles = Tiles.of(query, first, width)
    asked = alpha is not None
    outputs = pl.pallas_call(
        functools.partial(_forward_kernel, tiles),
        grid=tiles.grid,
        in_specs=[SCALARS, tiles.of_queries, tiles.of_keys, tiles.of_keys],
        out_specs=[tiles.of_queries] + [tiles.per_query] * asked,
        out_shape=[jax.ShapeDtypeStruct(tiles.tokens_shape, value.dtype)]
        + [jax.ShapeDtypeStruct(tiles.per_query_shape, jnp.float32)] * asked,
        compiler_params=QUERIES_IN_ORDER,
        cost_estimate=tiles.cost(products=2, arrays=(query, key, value, value)),
        interpret=interpret,
    )(_operand(alpha), *map(tiles.flat, (query, key, value)))
    entropy = tiles.from_per_query(outputs[1]) if asked else None
    return (outputs[0].reshape(query.shape), entropy), (query, key, value, alpha)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _backward(first, width, interpret, residuals, cotangents):
    query, key, value, alpha = residuals
    d_attended, d_entropy = cotangents
    tiles = Tiles.of(query, first, width)
    asked = alpha is not None
    arrays = query, d_attended.astype(value.dtype), key, value
    of_keys = pltpu.VMEM((tiles.keys, tiles.lanes), jnp.float32)
    gradients = pl.pallas_call(
        functools.partial(_backward_kernel, tiles, asked),
        grid=tiles.grid,
        in_specs=[SCALARS, tiles.of_queries, tiles.of_queries, tiles.of_keys, tiles.of_keys]
        + [tiles.per_query] * asked,
        out_specs=[tiles.of_queries, tiles.of_keys, tiles.of_keys],
        out_shape=[
            jax.ShapeDtypeStruct(tiles.tokens_shape, each.dtype) for each in (query, key, value)
        ],
        scratch_shapes=[of_keys, of_keys],
        compiler_params=QUERIES_IN_ORDER,
        cost_estimate=tiles.cost(products=5, arrays=(*arrays, query, key, value)),
        interpret=interpret,
    )(
        _operand(alpha),
        *map(tiles.flat, arrays),
        *([tiles.to_per_query(d_entropy)] if asked else []),
    )
    d_query, d_key, d_value = (each.reshape(query.shape) for each in gradients)
    d_alpha = None
    if asked:
        # Runs only where it is asked for.
        query, key, value = (jnp.swapaxes(each, 1, 2) for each in (query, key, value))
        operands = query * width**-0.5, key[:, :, first:]
        rows = chunked.forward(*operands, value[:, :, first:], alpha)[1]
        d_alpha = chunked.order_cotangent(*operands, alpha, rows, d_entropy)
    return d_query, d_key, d_value, d_alpha


_attention.defvjp(_forward, _backward)


# The kernels: some queries, all keys, one head after another


def _forward_kernel(tiles, scalars, query, key, value, attended, *entropy):
    order = order_from(scalars) if entropy else None
    queries, keys, values = tiles.queries(query), tiles.all_keys(key), tiles.all_keys(value)
    sums = jnp.zeros((tiles.query_tile, tiles.lanes), jnp.float32)
    entropies = jnp.zeros((tiles.query_tile, tiles.heads_here), jnp.float32)
    for head in range(tiles.heads_here):
        logits = tiles.logits(tiles.of_head(head, queries * tiles.scale, keys.dtype), keys)
        weights = _softmax(logits).astype(values.dtype)
        sums += tiles.of_head(head, _dot(weights, values))
        if entropy:
            rows = _entropy_statistics(tiles.from_first(logits), order)
            entropies = jnp.where(axis(entropies, 1) == head, rows.log_z + rows.spread, entropies)
    attended[0] = sums.astype(attended.dtype)
    if entropy:
        entropy[0][0, 0] = entropies


def _backward_kernel(tiles, asked, scalars, query, d_attended, key, value, *refs):
    *d_entropy, d_query, d_key, d_value, key_sums, value_sums = refs
    block, blocks = pl.program_id(2), pl.num_programs(2)

    @pl.when(block == 0)
    def _():
        key_sums[...] = jnp.zeros_like(key_sums)
        value_sums[...] = jnp.zeros_like(value_sums)

    queries, cotangents = tiles.queries(query), tiles.queries(d_attended)
    keys, values = tiles.all_keys(key), tiles.all_keys(value)
    query_sums = jnp.zeros((tiles.query_tile, tiles.lanes), jnp.float32)
    for head in range(tiles.heads_here):
        own_queries = tiles.of_head(head, queries * tiles.scale, keys.dtype)
        own_cotangents = tiles.of_head(head, cotangents, values.dtype)
        logits = tiles.logits(own_queries, keys)
        weights = _softmax(logits)
        d_weights = dot_rows(own_cotangents, values)
        shift = jnp.sum(weights * d_weights, axis=1, keepdims=True)
        d_logits = weights * (d_weights - shift)
        if asked:
            order = order_from(scalars)
            logits = tiles.from_first(logits)
            rows = _entropy_statistics(logits, order)
            t = logits - rows.top
            slope = slope_in_logits(t - rows.log_z, t + rows.spread, order)[1]
            d_logits += tiles.column(d_entropy[0], head) * slope
        d_logits = d_logits.astype(keys.dtype)
        query_sums += tiles.of_head(head, _dot(d_logits, keys))
        key_sums[...] += contract(d_logits, own_queries, 0)
        value_sums[...] += contract(weights.astype(values.dtype), own_cotangents, 0)
    d_query[0] = (query_sums * tiles.scale).astype(d_query.dtype)

    @pl.when(block == blocks - 1)
    def _():
        d_key[0] = key_sums[...].astype(d_key.dtype)
        d_value[0] = value_sums[...].astype(d_value.dtype)


def _columns_kernel(tiles, scalars, query, key, weights, sums, top, total):
    block, blocks = pl.program_id(2), pl.num_programs(2)
    power = scalars[0]

    @pl.when(block == 0)
    def _():
        top[...] = jnp.full_like(top, columns.LOWEST)
        total[...] = jnp.zeros_like(total)

    queries, keys = tiles.queries(query), tiles.all_keys(key)
    for head in range(tiles.heads_here):
        logits = tiles.logits(tiles.of_head(head, queries * tiles.scale, keys.dtype), keys)
        log_a = columns.normalised(logits, tiles.from_first(logits))
        own = pl.ds(head, 1), slice(None)
        own_sums = columns.add_rows(
            (top[own], total[own]), log_a, tiles.column(weights, head), power
        )
        top[own], total[own] = own_sums

    @pl.when(block == blocks - 1)
    def _():
        sums[0, 0] = columns.logarithm((top[...], total[...]), power)


def _softmax(logits):
    terms = jnp.exp(logits - jnp.max(logits, axis=1, keepdims=True))
    return terms * (1 / jnp.sum(terms, axis=1, keepdims=True))


def _entropy_statistics(logits, order):
    return statistics(fold(no_keys((logits.shape[0], 1)), logits, order, axis=1)[0], order)


def _dot(left, right):
    return jnp.dot(left, right, preferred_element_type=jnp.float32)


def _operand(alpha):
    return jnp.zeros(4, jnp.float32) if alpha is None else order_scalars(alpha)
