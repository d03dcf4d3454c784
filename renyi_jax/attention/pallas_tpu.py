"""Streaming attention as a Pallas kernel for TPUs.

Everything is laid out with queries along the lanes: a tile of logits is `[keys, queries]`, so that
what is carried per query is a row of lanes, sums over keys need no exchange between lanes, and a
head may have any width that is a multiple of 8. Tokens that fill the last tile up are masked as
keys, and cut off as queries.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from renyi_jax.attention.chunked import logit_cotangents
from renyi_jax.attention.online_softmax import (
    MASKED,
    RowStatistics,
    RunningSums,
    fold,
    no_keys,
    order_from,
    statistics,
)

LANES = 128  # tiles are multiples of the lanes of a TPU's vector registers

LARGEST_TILE = 512
"""Tokens in a tile at most: with 512 x 512 logits in float32 the kernels fit into 16 MiB."""


def forward(
    query: Float[Array, "b h n d"],
    key: Float[Array, "b h m d"],
    value: Float[Array, "b h m d"],
    scalars: Float[Array, "4"] | None = None,
    *,
    interpret: bool = False,
) -> tuple[Float[Array, "b h n d"], RowStatistics]:
    """As `chunked.forward`; `scalars` are of `order_scalars`, and `interpret` runs on any
    device.
    """
    tiles = _Tiles.of(query, key)
    outputs = pl.pallas_call(
        functools.partial(_forward_kernel, tiles.keys, scalars is not None),
        grid=(tiles.heads, tiles.query_blocks, tiles.key_blocks),
        in_specs=[
            _SCALARS,
            tiles.columns(_second, tiles.query_tile),
            tiles.rows(_third, tiles.key_tile),
            tiles.columns(_third, tiles.key_tile),
        ],
        out_specs=[tiles.columns(_second, tiles.query_tile), tiles.per_query(_second, 3)],
        out_shape=[
            jax.ShapeDtypeStruct((tiles.heads, tiles.width, tiles.padded_queries), value.dtype),
            jax.ShapeDtypeStruct((tiles.heads, 3, tiles.padded_queries), jnp.float32),
        ],
        scratch_shapes=[
            pltpu.VMEM((tiles.width, tiles.query_tile), jnp.float32),
            pltpu.VMEM((4, tiles.query_tile), jnp.float32),
        ],
        compiler_params=_LAST_AXIS_IN_ORDER,
        interpret=interpret,
    )(
        _operand(scalars),
        tiles.query_columns(query),
        tiles.key_rows(key),
        tiles.key_columns(value),
    )
    attended, rows = outputs
    attended = jnp.swapaxes(attended[:, :, : tiles.queries], 1, 2)
    rows = rows[:, :, : tiles.queries].reshape(*query.shape[:2], 3, -1)
    return attended.reshape(query.shape), RowStatistics(*(rows[:, :, i] for i in range(3)))


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
    """As `chunked.backward`, with `scalars` and `interpret` as in `forward`."""
    tiles = _Tiles.of(query, key)
    static = tiles.keys, scalars is not None
    per_query = jnp.stack([*rows, shift, d_entropy], axis=2).astype(jnp.float32)
    per_query = per_query.reshape(tiles.heads, 5, tiles.queries)
    per_query = _padded(per_query, 2, tiles.padded_queries)
    arguments = (
        _operand(scalars),
        per_query,
        tiles.query_columns(query),
        tiles.query_columns(d_attended),
        tiles.key_rows(key),
        tiles.key_rows(value),
    )

    def call(kernel, of_queries, of_keys, grid, specs, out_specs, out_shape, scratch, more):
        return pl.pallas_call(
            functools.partial(kernel, *static),
            grid=grid,
            in_specs=[
                _SCALARS,
                tiles.per_query(of_queries, 5),
                tiles.columns(of_queries, tiles.query_tile),
                tiles.columns(of_queries, tiles.query_tile),
                tiles.rows(of_keys, tiles.key_tile),
                tiles.rows(of_keys, tiles.key_tile),
                *specs,
            ],
            out_specs=out_specs,
            out_shape=out_shape,
            scratch_shapes=scratch,
            compiler_params=_LAST_AXIS_IN_ORDER,
            interpret=interpret,
        )(*arguments, *more)

    query_sums = pltpu.VMEM((tiles.width, tiles.query_tile), jnp.float32)
    key_sums = pltpu.VMEM((tiles.key_tile, tiles.width), jnp.float32)
    d_query = call(
        _query_kernel,
        _second,
        _third,
        (tiles.heads, tiles.query_blocks, tiles.key_blocks),
        [tiles.columns(_third, tiles.key_tile)],
        tiles.columns(_second, tiles.query_tile),
        jax.ShapeDtypeStruct((tiles.heads, tiles.width, tiles.padded_queries), query.dtype),
        [query_sums],
        (tiles.key_columns(key),),
    )
    d_key, d_value = call(
        _key_kernel,
        _third,
        _second,
        (tiles.heads, tiles.key_blocks, tiles.query_blocks),
        [tiles.rows(_third, tiles.query_tile), tiles.rows(_third, tiles.query_tile)],
        [tiles.rows(_second, tiles.key_tile)] * 2,
        [
            jax.ShapeDtypeStruct((tiles.heads, tiles.padded_keys, tiles.width), each.dtype)
            for each in (key, value)
        ],
        [key_sums, key_sums],
        (tiles.query_rows(query), tiles.query_rows(d_attended)),
    )
    d_query = jnp.swapaxes(d_query[:, :, : tiles.queries], 1, 2).reshape(query.shape)
    d_key, d_value = (each[:, : tiles.keys].reshape(key.shape) for each in (d_key, d_value))
    return d_query, d_key, d_value


# The kernels: a tile of logits at a time


def _forward_kernel(
    num_keys, with_entropy, scalars, query, key, value, attended, rows, sums, running_ref
):
    block, blocks = pl.program_id(2), pl.num_programs(2)
    order = order_from(scalars) if with_entropy else None

    @pl.when(block == 0)
    def _():
        sums[...] = jnp.zeros_like(sums)
        for i, each in enumerate(no_keys((1, sums.shape[1]))):
            running_ref[i : i + 1, :] = each

    running = RunningSums(*(running_ref[i : i + 1, :] for i in range(4)))
    logits = _masked(_dot(key[0], query[0]), block, num_keys)
    running, z, shrink = fold(running, logits, order, axis=0)
    sums[...] = sums[...] * shrink + _dot(value[0], z.astype(value.dtype))
    for i, each in enumerate(running):
        running_ref[i : i + 1, :] = each

    @pl.when(block == blocks - 1)
    def _():
        attended[0] = (sums[...] / (1 + running.rest)).astype(attended.dtype)
        for i, each in enumerate(statistics(running, order)):
            rows[0, i : i + 1, :] = each


def _query_kernel(
    num_keys, with_entropy, scalars, per_query, query, d_attended, key, value, key_columns,
    d_query, sums,
):  # fmt: skip
    block, blocks = pl.program_id(2), pl.num_programs(2)
    order = order_from(scalars) if with_entropy else None

    @pl.when(block == 0)
    def _():
        sums[...] = jnp.zeros_like(sums)

    rows = per_query, query, d_attended
    d_logits = _cotangents(*rows, key, value, block, num_keys, order)[1]
    sums[...] += _dot(key_columns[0], d_logits.astype(key.dtype))

    @pl.when(block == blocks - 1)
    def _():
        d_query[0] = sums[...].astype(d_query.dtype)


def _key_kernel(
    num_keys, with_entropy, scalars, per_query, query, d_attended, key, value, query_rows,
    d_attended_rows, d_key, d_value, key_sums, value_sums,
):  # fmt: skip
    block, blocks = pl.program_id(2), pl.num_programs(2)
    order = order_from(scalars) if with_entropy else None

    @pl.when(block == 0)
    def _():
        key_sums[...] = jnp.zeros_like(key_sums)
        value_sums[...] = jnp.zeros_like(value_sums)

    weights, d_logits = _cotangents(
        per_query, query, d_attended, key, value, pl.program_id(1), num_keys, order
    )
    key_sums[...] += _dot(d_logits.astype(key.dtype), query_rows[0])
    value_sums[...] += _dot(weights.astype(value.dtype), d_attended_rows[0])

    @pl.when(block == blocks - 1)
    def _():
        d_key[0] = key_sums[...].astype(d_key.dtype)
        d_value[0] = value_sums[...].astype(d_value.dtype)


def _cotangents(per_query, query, d_attended, key, value, key_block, num_keys, order):
    top, log_z, spread, shift, d_entropy = (per_query[0, i : i + 1, :] for i in range(5))
    t = _masked(_dot(key[0], query[0]), key_block, num_keys) - top
    d_weights = _dot(value[0], d_attended[0])
    return logit_cotangents(
        t, d_weights, RowStatistics(top, log_z, spread), shift, d_entropy, order
    )


def _dot(left, right):
    return jnp.dot(left, right, preferred_element_type=jnp.float32)


def _masked(logits, key_block, num_keys):
    """Logits `[keys, queries]`, those of keys that fill the last tile up masked."""
    if num_keys % logits.shape[0] == 0:
        return logits
    keys = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 0) + key_block * logits.shape[0]
    return jnp.where(keys < num_keys, logits, MASKED)


# The order of the entropy, as scalars that a kernel can read


_SCALARS = pl.BlockSpec(memory_space=pltpu.SMEM)


def _operand(scalars):
    return jnp.zeros(4, jnp.float32) if scalars is None else scalars


# The tiles


_LAST_AXIS_IN_ORDER = pltpu.CompilerParams(
    dimension_semantics=("parallel", "parallel", "arbitrary")
)


def _second(head, second, third):
    return head, second


def _third(head, second, third):
    return head, third


class _Tiles(NamedTuple):
    """How the tokens of each head are cut: into columns `[d, tile]`, or into rows `[tile, d]`."""

    heads: int
    width: int
    queries: int
    keys: int
    query_tile: int
    key_tile: int

    @classmethod
    def of(cls, query, key) -> "_Tiles":
        batch, heads, queries, width = query.shape
        keys = key.shape[2]
        return cls(batch * heads, width, queries, keys, _tile(queries), _tile(keys))

    @property
    def query_blocks(self) -> int:
        return math.ceil(self.queries / self.query_tile)

    @property
    def key_blocks(self) -> int:
        return math.ceil(self.keys / self.key_tile)

    @property
    def padded_queries(self) -> int:
        return self.query_blocks * self.query_tile

    @property
    def padded_keys(self) -> int:
        return self.key_blocks * self.key_tile

    def columns(self, place, tile: int) -> pl.BlockSpec:
        def index(*grid):
            head, block = place(*grid)
            return head, 0, block

        return pl.BlockSpec((1, self.width, tile), index)

    def rows(self, place, tile: int) -> pl.BlockSpec:
        def index(*grid):
            head, block = place(*grid)
            return head, block, 0

        return pl.BlockSpec((1, tile, self.width), index)

    def per_query(self, place, count: int) -> pl.BlockSpec:
        def index(*grid):
            head, block = place(*grid)
            return head, 0, block

        return pl.BlockSpec((1, count, self.query_tile), index)

    def query_rows(self, tokens):
        return _padded(tokens.reshape(self.heads, self.queries, self.width), 1, self.padded_queries)

    def query_columns(self, tokens):
        return jnp.swapaxes(self.query_rows(tokens), 1, 2)

    def key_rows(self, tokens):
        return _padded(tokens.reshape(self.heads, self.keys, self.width), 1, self.padded_keys)

    def key_columns(self, tokens):
        return jnp.swapaxes(self.key_rows(tokens), 1, 2)


def _tile(length: int) -> int:
    """The tile that pads `length` the least; of such, the largest."""
    sizes = range(LARGEST_TILE, 0, -LANES)
    return min(sizes, key=lambda tile: math.ceil(length / tile) * tile)


def _padded(array, axis: int, length: int):
    widths = [(0, length - size if i == axis else 0) for i, size in enumerate(array.shape)]
    return jnp.pad(array, widths)
