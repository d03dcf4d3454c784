"""Streaming attention in plain XLA: some queries at a time, each against all keys."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from renyi_jax.attention.online_softmax import RowStatistics
from renyi_jax.entropy import Order, order_of, row_sums, slope_in_logits, slope_in_order

QUERIES = 256  # queries that are held at a time, with all their logits


def forward(
    query: Float[Array, "b h n d"],
    key: Float[Array, "b h m d"],
    value: Float[Array, "b h m d"],
    alpha: Float[Array, ""] | None = None,
) -> tuple[Float[Array, "b h n d"], RowStatistics]:
    """Returns attention on scaled queries, and the statistics of its rows `[b, h, n]`.

    Without an order alpha no entropy is computed.
    """
    order = None if alpha is None else order_of(alpha)

    def attend(query):
        logits = _logits(query, key)
        weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
        return weights @ value, _statistics(logits, order)

    return scan_chunks(lambda carry, query: (carry, attend(query)), (), query)[1]


def backward(
    query: Float[Array, "b h n d"],
    key: Float[Array, "b h m d"],
    value: Float[Array, "b h m d"],
    rows: RowStatistics,
    d_attended: Float[Array, "b h n d"],
    shift: Float[Array, "b h n"],
    d_entropy: Float[Array, "b h n"],
    alpha: Float[Array, ""] | None = None,
) -> tuple[Float[Array, "b h n d"], Float[Array, "b h m d"], Float[Array, "b h m d"]]:
    """Returns the cotangents of query, key and value; the logits are computed again.

    Args:
        rows: what `forward` returned.
        shift: what is taken from `d_attended . value` in every logit's cotangent.
    """
    order = None if alpha is None else order_of(alpha)

    def pull(sums, chunk):
        query, d_attended, rows, shift, d_entropy = chunk
        t = _logits(query, key) - rows.top[..., None]
        d_weights = _logits(d_attended, value)
        weights, d_logits = logit_cotangents(
            t, d_weights, RowStatistics(*(each[..., None] for each in rows)),
            shift[..., None], d_entropy[..., None], order,
        )  # fmt: skip
        weights, d_logits = weights.astype(value.dtype), d_logits.astype(key.dtype)
        d_key = _outer(d_logits, query)
        d_value = _outer(weights, d_attended)
        return (sums[0] + d_key, sums[1] + d_value), d_logits @ key

    zeros = jnp.zeros(key.shape, jnp.float32), jnp.zeros(value.shape, jnp.float32)
    chunks = (query, d_attended, rows, shift, d_entropy)
    (d_key, d_value), d_query = scan_chunks(pull, zeros, chunks)
    return d_query, d_key.astype(key.dtype), d_value.astype(value.dtype)


def logit_cotangents(
    t: Float[Array, "*part"],
    d_weights: Float[Array, "*part"],
    rows: RowStatistics,
    shift: Float[Array, "*rows"],
    d_entropy: Float[Array, "*rows"],
    order: Order | None,
) -> tuple[Float[Array, "*part"], Float[Array, "*part"]]:
    """Returns the attention, and the cotangent of the logits, of one part of the keys.

    Args:
        t: logits less the maximum of their row.
        d_weights: cotangent of the attention, `d_attended . value`.
        rows: with an axis of length one for the keys, as `shift` and `d_entropy`.
    """
    if order is None:
        weights = jnp.exp(t - rows.log_z)
        return weights, weights * (d_weights - shift)
    weights, slope = slope_in_logits(t - rows.log_z, t + rows.spread, order)
    return weights, weights * (d_weights - shift) + d_entropy * slope


def order_cotangent(
    query: Float[Array, "b h n d"],
    key: Float[Array, "b h m d"],
    alpha: Float[Array, ""],
    rows: RowStatistics,
    d_entropy: Float[Array, "b h n"],
) -> Float[Array, ""]:
    """The cotangent of alpha: a pass of its own, which is only run where it is asked for."""
    order = order_of(alpha)

    def pull(total, chunk):
        query, rows, d_entropy = chunk
        t = _logits(query, key) - rows.top[..., None]
        slope = slope_in_order(t - rows.log_z[..., None], t + rows.spread[..., None], order)
        return total + jnp.sum(slope.sum(axis=-1) * d_entropy), ()

    total, _ = scan_chunks(pull, jnp.zeros((), jnp.float32), (query, rows, d_entropy))
    return total


def _statistics(logits: Float[Array, "b h c m"], order: Order | None) -> RowStatistics:
    if order is None:
        top = logits.max(axis=-1)
        return RowStatistics(top, jax.nn.logsumexp(logits, axis=-1) - top, jnp.zeros_like(top))
    sums = row_sums(logits, order)
    rows = RowStatistics(sums.top, jnp.log1p(sums.z_rest), sums.spread)
    return RowStatistics(*(each[..., 0] for each in rows))


def _logits(query: Float[Array, "b h c d"], key: Float[Array, "b h m d"]):
    return jnp.matmul(query, jnp.swapaxes(key, 2, 3), preferred_element_type=jnp.float32)


def _outer(rows: Float[Array, "b h c m"], tokens: Float[Array, "b h c d"]):
    return jnp.matmul(jnp.swapaxes(rows, 2, 3), tokens, preferred_element_type=jnp.float32)


def scan_chunks(function: Callable[..., Any], carry: Any, arrays: Any) -> Any:
    """`lax.scan` over chunks of axis 2. Rows that fill the last chunk up are zeros, cut off again.

    Zeros pull no cotangent: what they add to a carry is zero.
    """
    length = jax.tree.leaves(arrays)[0].shape[2]
    count = math.ceil(length / QUERIES)
    if count == 1:
        return function(carry, arrays)
    padding = count * QUERIES - length

    def split(array):
        array = jnp.pad(
            array, [(0, padding) if axis == 2 else (0, 0) for axis in range(array.ndim)]
        )
        chunks = array.reshape(*array.shape[:2], count, QUERIES, *array.shape[3:])
        return jnp.moveaxis(chunks, 2, 0)

    def join(chunks):
        chunks = jnp.moveaxis(chunks, 0, 2)
        array = chunks.reshape(*chunks.shape[:2], count * QUERIES, *chunks.shape[4:])
        return array[:, :, :length]

    carry, outputs = jax.lax.scan(function, carry, jax.tree.map(split, arrays))
    return carry, jax.tree.map(join, outputs)
