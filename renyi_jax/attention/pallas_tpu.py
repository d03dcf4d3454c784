"""Attention as Pallas kernels for TPUs: rows of logits that never leave the chip.

A program holds some queries of an image, all of its keys and values, and the logits between them,
so that a row's softmax and entropy are those of the whole row, and nothing is kept for the gradient
but query, key and value. Tokens are read as dense layers write them, the heads side by side along
the lanes. The heads that share a lane tile are told apart by zeros in the queries (and in the
cotangents): a product over 128 lanes takes as long as one over 64.
"""

import functools
import math
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Float32

from renyi_jax.attention import chunked
from renyi_jax.attention.evidence import RowEntropy
from renyi_jax.attention.online_softmax import (
    MASKED,
    fold,
    no_keys,
    order_from,
    order_scalars,
    statistics,
)
from renyi_jax.entropy import slope_in_logits

LANES = 128  # of a TPU's vector registers

LOGITS = 2**18
"""Logits of a program at most, beyond `FEWEST_QUERIES`: a handful of such arrays fit into VMEM."""

FEWEST_QUERIES, MOST_QUERIES = 32, 256  # of a program

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
    missing = _padded_width(width) - width
    if missing:
        widen = ((0, 0), (0, 0), (0, 0), (0, missing))
        query, key, value = (jnp.pad(each, widen) for each in (query, key, value))
    if entropy_of is None:
        outputs: Any = _attention(query, key, value, None, 0, width, interpret)
        return outputs[0][..., :width], None
    alpha = jnp.asarray(entropy_of.alpha, jnp.float32)
    first = 0 if entropy_of.prefix_keys else num_prefix
    outputs = _attention(query, key, value, alpha, first, width, interpret)
    attended, entropy = outputs
    entropy = jnp.where(alpha > 0, entropy, jnp.nan)  # a traced order cannot be refused
    return attended[..., :width], entropy[:, :, num_prefix:]


def _padded_width(width: int) -> int:
    """The least width from `width` on that divides the lanes of a register."""
    return 1 << (width - 1).bit_length()


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def _attention(query, key, value, alpha, first, width, interpret) -> Any:
    """Attention, and the entropies of all rows `[b, h, n]` over the keys from `first` on."""
    result: Any = _forward(query, key, value, alpha, first, width, interpret)
    return result[0]


@functools.partial(jax.jit, static_argnums=(4, 5, 6))  # traced once for all blocks
def _forward(query, key, value, alpha, first, width, interpret):
    tiles = _Tiles.of(query, first, width)
    asked = alpha is not None
    outputs = pl.pallas_call(
        functools.partial(_forward_kernel, tiles),
        grid=tiles.grid,
        in_specs=[_SCALARS, tiles.of_queries, tiles.of_keys, tiles.of_keys],
        out_specs=[tiles.of_queries] + [tiles.per_query] * asked,
        out_shape=[jax.ShapeDtypeStruct(tiles.tokens_shape, value.dtype)]
        + [jax.ShapeDtypeStruct(tiles.per_query_shape, jnp.float32)] * asked,
        compiler_params=_QUERIES_IN_ORDER,
        cost_estimate=tiles.cost(products=2, arrays=(query, key, value, value)),
        interpret=interpret,
    )(_operand(alpha), *map(tiles.flat, (query, key, value)))
    entropy = tiles.from_per_query(outputs[1]) if asked else None
    return (outputs[0].reshape(query.shape), entropy), (query, key, value, alpha)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _backward(first, width, interpret, residuals, cotangents):
    query, key, value, alpha = residuals
    d_attended, d_entropy = cotangents
    tiles = _Tiles.of(query, first, width)
    asked = alpha is not None
    arrays = query, d_attended.astype(value.dtype), key, value
    of_keys = pltpu.VMEM((tiles.keys, tiles.lanes), jnp.float32)
    gradients = pl.pallas_call(
        functools.partial(_backward_kernel, tiles, asked),
        grid=tiles.grid,
        in_specs=[_SCALARS, tiles.of_queries, tiles.of_queries, tiles.of_keys, tiles.of_keys]
        + [tiles.per_query] * asked,
        out_specs=[tiles.of_queries, tiles.of_keys, tiles.of_keys],
        out_shape=[
            jax.ShapeDtypeStruct(tiles.tokens_shape, each.dtype) for each in (query, key, value)
        ],
        scratch_shapes=[of_keys, of_keys],
        compiler_params=_QUERIES_IN_ORDER,
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
            rows = _entropy_statistics(tiles.entropy_logits(logits), order)
            entropies = jnp.where(_axis(entropies, 1) == head, rows.log_z + rows.spread, entropies)
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
        d_weights = _dot_rows(own_cotangents, values)
        shift = jnp.sum(weights * d_weights, axis=1, keepdims=True)
        d_logits = weights * (d_weights - shift)
        if asked:
            order = order_from(scalars)
            logits = tiles.entropy_logits(logits)
            rows = _entropy_statistics(logits, order)
            t = logits - rows.top
            slope = slope_in_logits(t - rows.log_z, t + rows.spread, order)[1]
            d_logits += tiles.column(d_entropy[0], head) * slope
        d_logits = d_logits.astype(keys.dtype)
        query_sums += tiles.of_head(head, _dot(d_logits, keys))
        key_sums[...] += _dot_columns(d_logits, own_queries)
        value_sums[...] += _dot_columns(weights.astype(values.dtype), own_cotangents)
    d_query[0] = (query_sums * tiles.scale).astype(d_query.dtype)

    @pl.when(block == blocks - 1)
    def _():
        d_key[0] = key_sums[...].astype(d_key.dtype)
        d_value[0] = value_sums[...].astype(d_value.dtype)


def _softmax(logits):
    terms = jnp.exp(logits - jnp.max(logits, axis=1, keepdims=True))
    return terms * (1 / jnp.sum(terms, axis=1, keepdims=True))


def _entropy_statistics(logits, order):
    return statistics(fold(no_keys((logits.shape[0], 1)), logits, order, axis=1)[0], order)


def _dot(left, right):
    return jnp.dot(left, right, preferred_element_type=jnp.float32)


def _dot_rows(left, right):
    return _contract(left, right, 1)


def _dot_columns(left, right):
    return _contract(left, right, 0)


def _contract(left, right, axis):
    dimensions = ((axis,), (axis,)), ((), ())
    return jax.lax.dot_general(left, right, dimensions, preferred_element_type=jnp.float32)


def _axis(array, axis):
    return jax.lax.broadcasted_iota(jnp.int32, array.shape, axis)


# The tiles

_SCALARS = pl.BlockSpec(memory_space=pltpu.SMEM)

_QUERIES_IN_ORDER = pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary"))


def _operand(alpha):
    return jnp.zeros(4, jnp.float32) if alpha is None else order_scalars(alpha)


class _Tiles(NamedTuple):
    """How tokens `[b, n, h d]` are cut: by images, by lanes, and the queries by rows."""

    batch: int
    length: int
    heads: int
    head_lanes: int  # of one head, padding included
    lanes: int  # of a tile
    query_tile: int
    keys: int  # of a tile, those that fill it up included
    first: int  # the first key that the entropy is over
    scale: float

    @classmethod
    def of(cls, query, first: int, width: int) -> "_Tiles":
        batch, length, heads, head_lanes = query.shape
        lanes = min(LANES, heads * head_lanes)
        keys = math.ceil(length / LANES) * LANES
        queries = MOST_QUERIES
        while queries > FEWEST_QUERIES and (queries >= 2 * length or queries * keys > LOGITS):
            queries //= 2
        scale = width**-0.5
        return cls(batch, length, heads, head_lanes, lanes, queries, keys, first, scale)

    @property
    def heads_here(self) -> int:
        return self.lanes // self.head_lanes

    @property
    def groups(self) -> int:
        return math.ceil(self.heads / self.heads_here)

    @property
    def grid(self) -> tuple[int, int, int]:
        return self.batch, self.groups, math.ceil(self.length / self.query_tile)

    @property
    def tokens_shape(self) -> tuple[int, int, int]:
        return self.batch, self.length, self.heads * self.head_lanes

    @property
    def per_query_shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.groups, self.length, self.heads_here

    @property
    def of_queries(self) -> pl.BlockSpec:
        block = 1, self.query_tile, self.lanes
        return pl.BlockSpec(block, lambda image, group, queries: (image, queries, group))

    @property
    def of_keys(self) -> pl.BlockSpec:
        return pl.BlockSpec((1, self.keys, self.lanes), lambda image, group, _: (image, 0, group))

    @property
    def per_query(self) -> pl.BlockSpec:
        block = 1, 1, self.query_tile, self.heads_here
        return pl.BlockSpec(block, lambda image, group, queries: (image, group, queries, 0))

    def cost(self, products: int, arrays) -> pl.CostEstimate:
        logits = self.batch * self.heads * self.length**2
        return pl.CostEstimate(
            flops=2 * products * logits * self.head_lanes,
            transcendentals=logits,
            bytes_accessed=sum(each.size * each.dtype.itemsize for each in arrays),
        )

    def flat(self, tokens):
        return tokens.reshape(self.tokens_shape)

    def to_per_query(self, rows):
        extra = self.groups * self.heads_here - self.heads
        rows = jnp.pad(rows, ((0, 0), (0, extra), (0, 0)))
        rows = rows.reshape(self.batch, self.groups, self.heads_here, self.length)
        return jnp.swapaxes(rows, 2, 3)

    def from_per_query(self, columns):
        rows = jnp.swapaxes(columns, 2, 3).reshape(self.batch, -1, self.length)
        return rows[:, : self.heads]

    # Within a kernel

    def queries(self, ref):
        """Rows in float32; zeros beyond the last query and the last lane."""
        rows = ref[0].astype(jnp.float32)
        start = pl.program_id(2) * self.query_tile
        return self._inside(rows, start, self.length % self.query_tile)

    def all_keys(self, ref):
        """Likewise, of all keys or values, in the dtype of the operand."""
        rows = ref[0]
        inside = self._inside(rows.astype(jnp.float32), 0, self.length % self.keys)
        return inside.astype(rows.dtype)

    def _inside(self, rows, start, is_ragged):
        if is_ragged:
            rows = jnp.where(_axis(rows, 0) + start < self.length, rows, 0)
        lanes = self.heads * self.head_lanes
        if lanes % self.lanes:
            first = pl.program_id(1) * self.lanes
            rows = jnp.where(_axis(rows, 1) + first < lanes, rows, 0)
        return rows

    def of_head(self, head: int, rows, dtype=jnp.float32):
        """Rows with zeros in the lanes of other heads."""
        if self.heads_here > 1:
            lane = _axis(rows, 1)
            first = head * self.head_lanes
            rows = jnp.where((lane >= first) & (lane < first + self.head_lanes), rows, 0)
        return rows.astype(dtype)

    def logits(self, queries, keys):
        logits = _dot_rows(queries, keys)
        if self.keys == self.length:
            return logits
        return jnp.where(_axis(logits, 1) < self.length, logits, MASKED)

    def entropy_logits(self, logits):
        """Those of the keys that the entropy is over, others masked."""
        return jnp.where(_axis(logits, 1) >= self.first, logits, MASKED) if self.first else logits

    def column(self, ref, head: int):
        """The number of each query for one head, 0 beyond the last query."""
        numbers = ref[0, 0]
        row = _axis(numbers, 0) + pl.program_id(2) * self.query_tile
        own = (_axis(numbers, 1) == head) & (row < self.length)
        return jnp.sum(jnp.where(own, numbers, 0), axis=1, keepdims=True)
