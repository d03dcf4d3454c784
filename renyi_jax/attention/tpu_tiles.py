"""How the Pallas kernels for TPUs cut tokens: some queries, all keys, and heads by lanes.

Tokens are read as dense layers write them, the heads side by side along the lanes. The heads that
share a lane tile are told apart by zeros in the queries (and in the cotangents): a product over 128
lanes takes as long as one over 64.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from renyi_jax.attention.online_softmax import MASKED

LANES = 128  # of a TPU's vector registers

LOGITS = 2**18
"""Logits of a program at most, beyond `FEWEST_QUERIES`: a handful of such arrays fit into VMEM."""

FEWEST_QUERIES, MOST_QUERIES = 32, 256  # of a program

SCALARS = pl.BlockSpec(memory_space=pltpu.SMEM)

QUERIES_IN_ORDER = pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary"))


class Tiles(NamedTuple):
    """How tokens `[b, n, h d]` are cut: by images, by lanes, and the queries by rows."""

    batch: int
    length: int
    heads: int
    head_lanes: int  # of one head, padding included
    lanes: int  # of a tile
    query_tile: int
    keys: int  # of a tile, those that fill it up included
    first: int  # the first key that counts for what is asked beside attention
    scale: float

    @classmethod
    def of(cls, query, first: int, width: int) -> "Tiles":
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

    @property
    def per_key_shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.groups, self.heads_here, self.keys

    @property
    def per_key(self) -> pl.BlockSpec:
        block = 1, 1, self.heads_here, self.keys
        return pl.BlockSpec(block, lambda image, group, _: (image, group, 0, 0))

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

    def from_per_key(self, rows):
        return rows.reshape(self.batch, -1, self.keys)[:, : self.heads, : self.length]

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
            rows = jnp.where(axis(rows, 0) + start < self.length, rows, 0)
        lanes = self.heads * self.head_lanes
        if lanes % self.lanes:
            first = pl.program_id(1) * self.lanes
            rows = jnp.where(axis(rows, 1) + first < lanes, rows, 0)
        return rows

    def of_head(self, head: int, rows, dtype=jnp.float32):
        """Rows with zeros in the lanes of other heads."""
        if self.heads_here > 1:
            lane = axis(rows, 1)
            first = head * self.head_lanes
            rows = jnp.where((lane >= first) & (lane < first + self.head_lanes), rows, 0)
        return rows.astype(dtype)

    def logits(self, queries, keys):
        logits = dot_rows(queries, keys)
        if self.keys == self.length:
            return logits
        return jnp.where(axis(logits, 1) < self.length, logits, MASKED)

    def from_first(self, logits):
        """Those of the keys from `first` on, others masked."""
        return jnp.where(axis(logits, 1) >= self.first, logits, MASKED) if self.first else logits

    def column(self, ref, head: int):
        """The number of each query for one head, 0 beyond the last query."""
        numbers = ref[0, 0]
        row = axis(numbers, 0) + pl.program_id(2) * self.query_tile
        own = (axis(numbers, 1) == head) & (row < self.length)
        return jnp.sum(jnp.where(own, numbers, 0), axis=1, keepdims=True)


def dot_rows(left, right):
    """`left right'`, in float32."""
    return contract(left, right, 1)


def contract(left, right, axis: int):
    """The product of two matrices over an axis of both, in float32."""
    dimensions = ((axis,), (axis,)), ((), ())
    return jax.lax.dot_general(left, right, dimensions, preferred_element_type=jnp.float32)


def axis(array, number: int):
    """The index of each element along an axis."""
    return jax.lax.broadcasted_iota(jnp.int32, array.shape, number)
