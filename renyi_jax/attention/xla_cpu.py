"""Attention and the entropy of its rows in one program: the fastest way on CPU.

XLA on CPU makes one parallel program of products, exponentials and sums, and writes no logits, if
the program has one result and nothing in between but plain arithmetic. So the sums of a row stand
in columns beside its attended values, and the formulas of `entropy` stand here as the literal
identities, each where it has its digits. The entropy is that of the keys of patches, so the program
runs over these alone: what prefix tokens add to the attended values is put to it afterwards.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from renyi_jax.attention import chunked, columns, plain
from renyi_jax.attention.evidence import ColumnSums, RowEntropy
from renyi_jax.entropy import attention_entropy, order_of

# An order so close to 1 is taken for 1: the entropy changes by at most (log n)^2 / 8 times that.
_SHANNON_GAP = 1e-7

# Nearer to 1 than this the identity would lose digits: it divides rounding errors by the gap.
_IDENTITY_GAP = 0.2

# Below so many nats, an entropy loses digits where its sums have the maximum of the row in them.
_PEAKED = 0.25

# Columns beside the attended values. Three are needed; 16 floats fill a vector of AVX-512.
_COLUMNS = 16

Rows = tuple[Float[Array, "b h n e"], Float32[Array, "b h n"], Float32[Array, "b h n"]]
"""Attended values, and of each row the logsumexp and the entropy."""


def attention(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    value: Float[Array, "b n h d"],
    num_prefix: int,
    entropy_of: RowEntropy,
) -> tuple[Float[Array, "b n h d"], Float32[Array, "b h m"]]:
    """As `plain.attention_and_entropy`, the entropy to 1e-5."""
    alpha, normalize, _, prefix_keys = entropy_of
    if num_prefix and not normalize and not prefix_keys:
        return plain.attention_and_entropy(query, key, value, num_prefix, entropy_of)
    first_key = 0 if prefix_keys else num_prefix
    attended, entropy = _attention(first_key, query, key, value, jnp.asarray(alpha))
    return attended, entropy[:, :, num_prefix:]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _attention(first_key, query, key, value, alpha):
    queries, keys, values = _heads_first(query, key, value)
    attended, lse, entropy = _rows(queries, keys[:, :, first_key:], values[:, :, first_key:], alpha)
    if first_key:
        logits = _logits(queries, keys[:, :, :first_key])
        shares = jax.nn.softmax(jnp.concatenate([lse[..., None], logits], axis=-1), axis=-1)
        attended *= shares[..., :1]
        for each in range(first_key):
            attended += shares[..., each + 1, None] * values[:, :, each, None]
    return jnp.swapaxes(attended.astype(value.dtype), 1, 2), entropy


@_attention.defjvp
def _attention_jvp(first_key, primals, tangents):
    # For the gradient attention is held as everywhere. Where none of the entropy is wanted, as of
    # the scores that pruning selects by, `_exact` is not run.
    attended = jax.jvp(lambda *operands: plain.attention(*operands)[0], primals[:3], tangents[:3])

    def exact(query, key, alpha):
        queries, keys = _heads_first(query, key)
        return attention_entropy(_logits(queries, keys[:, :, first_key:]), alpha, num_prefix=0)

    query, key, value, alpha = primals
    queries, keys, nothing = _heads_first(query, key, value[..., :0])
    entropy = _rows(queries, keys[:, :, first_key:], nothing[:, :, first_key:], alpha)[2]
    slope = jax.jvp(exact, (query, key, alpha), (*tangents[:2], tangents[3]))[1]
    return (attended[0], entropy), (attended[1], slope)


def stream(
    query: Float[Array, "b h n d"],
    key: Float[Array, "b h m d"],
    value: Float[Array, "b h m d"],
    alpha: Float[Array, ""] | None = None,
) -> Rows:
    """As `streaming.stream`, some queries at a time; peaked rows, which are rare, once more."""

    def attend(carry, chunk):
        operands = chunk, key, value
        if alpha is None:
            rows = _rows_alone(*operands)
        else:
            rows = _rows(*operands, alpha)
            exactly = partial(_rows, alpha=alpha, exactly=True)
            is_peaked = jnp.any(rows[2] < _PEAKED)
            rows = jax.lax.cond(is_peaked, exactly, lambda *_: rows, *operands)
        attended, *rows = rows
        return carry, (attended.astype(value.dtype), *rows)

    return chunked.scan_chunks(attend, (), query)[1]


def column_sums(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    num_prefix: int,
    asked: ColumnSums,
    weights: Float[Array, "b h m"],
    lse: Float32[Array, "b h m"],
) -> Float32[Array, "b h m"]:
    """As `columns.column_sums`, from the logsumexp of each row; it has no gradient.

    A column is a row of the transposed logits, and so a sum of the same program.
    """
    query, key = (tokens[:, :, num_prefix:] for tokens in _heads_first(query, key))

    def add(carry, chunk):
        log_a = _logits(chunk, query) - lse[:, :, None]
        top = jnp.max(log_a, axis=-1, keepdims=True)
        terms = jnp.exp(asked.power * (log_a - top))
        if asked.sharp:
            terms *= weights[:, :, None]
        rows = _beside(jnp.sum(terms, axis=-1, keepdims=True), top)
        # Were the two sides of a difference rounded differently, a power of 1e12 would blow it up.
        total = jnp.minimum(rows[..., 0], query.shape[2])
        return carry, columns.logarithm((rows[..., 1], total), asked.power)

    return chunked.scan_chunks(add, (), key)[1]


def _rows(
    query: Float[Array, "b h n d"],
    key: Float[Array, "b h m d"],
    value: Float[Array, "b h m e"],
    alpha: Float[Array, ""],
    exactly: bool = False,
) -> Rows:
    """Attention over these keys; queries are scaled. Exactly: with the digits of tiny entropies."""
    # XLA of JAX 0.10.2 computes nonsense where several orders that are mapped over are constants.
    alpha = jax.lax.optimization_barrier(alpha)
    is_order = alpha > 0
    order = jnp.where(is_order, alpha, 1)
    gap = jnp.abs(order - 1)
    case = (gap > _SHANNON_GAP).astype(jnp.int32) + (gap >= _IDENTITY_GAP) + (order == 2)
    summed = partial(_summed, exactly=exactly)
    shannon, identity, square = (partial(each, summed) for each in (_shannon, _identity, _square))
    branches = (shannon, _exact, identity, square)
    attended, lse, entropy = jax.lax.switch(case, branches, query, key, value, order)
    # A traced order cannot be refused.
    return attended, lse, entropy + jnp.where(is_order, 0, jnp.nan)


def _rows_alone(query, key, value) -> Rows:
    """The same without an order, the entropy 0."""
    attended, top, log_z = _summed(query, key, value)
    return attended, top + log_z, jnp.zeros_like(top)


def _shannon(summed, query, key, value, alpha) -> Rows:
    attended, top, log_z, total = summed(query, key, value, lambda t, z: z * t)
    return attended, top + log_z, log_z - total * jnp.exp(-log_z)


def _exact(query, key, value, alpha) -> Rows:
    s = _logits(query, key)
    weights = jax.nn.softmax(s, axis=-1).astype(value.dtype)
    attended = jnp.matmul(weights, value, preferred_element_type=jnp.float32)
    return attended, jax.nn.logsumexp(s, axis=-1), attention_entropy(s, alpha, num_prefix=0)


def _identity(summed, query, key, value, alpha) -> Rows:
    """`(LSE(alpha s) - alpha LSE(s)) / (1 - alpha)`."""
    order = order_of(alpha)

    def power(t, z):
        return jnp.exp(order.alpha * t)

    attended, top, log_z, rest = summed(query, key, value, power)
    return attended, top + log_z, (order.alpha * log_z - jnp.log1p(rest)) / order.delta


def _square(summed, query, key, value, alpha) -> Rows:
    """Order 2, the default, needs no second exponential."""
    attended, top, log_z, rest = summed(query, key, value, lambda t, z: z * z)
    return attended, top + log_z, 2 * log_z - jnp.log1p(rest)


def _summed(query, key, value, *terms: Callable, exactly: bool = False):
    """Sums over the keys, of logits `s = top + t`.

    Returns:
        The attended values, the maxima, `LSE(s) - top`, and the sum of each `term(t, exp(t))`
        without one maximum of the row.
    """
    s = _logits(query, key)
    top = jnp.max(s, axis=-1, keepdims=True)
    t = s - top
    z = jnp.exp(t)
    values = [z, *(term(t, z) for term in terms)]
    if exactly:
        # Maxima are left out, for 1 + tiny loses the digits of tiny: by arithmetic, as in
        # `entropy.row_sums`, since a comparison ends the program.
        is_below = jnp.minimum(t * -1e30, 1)
        values = [each * is_below for each in (*values, jnp.ones(()))]
    beside = [*(jnp.sum(each, axis=-1, keepdims=True) for each in values), top]
    rows = jnp.matmul(z.astype(value.dtype), value, preferred_element_type=jnp.float32)
    width = rows.shape[-1]
    rows = jnp.pad(rows, [(0, 0)] * 3 + [(0, _COLUMNS)]) + _beside(*beside, before=width)
    *sums, top = (rows[..., width + column] for column in range(len(beside)))
    count = sums.pop() if exactly else s.shape[-1]
    others = s.shape[-1] - count - 1  # maxima that belong to the sums, and are not in them
    at_top = (1.0, *(term(jnp.zeros(()), jnp.ones(())) for term in terms))
    rest, *rests = (total + others * each for total, each in zip(sums, at_top))
    return rows[..., :width] / (1 + rest[..., None]), top, jnp.log1p(rest), *rests


def _beside(*columns: Float32[Array, "b h n 1"], before: int = 0) -> Float32[Array, "b h n w"]:
    """The columns side by side, as one result, `before` zeros before them."""
    rows, places = jnp.zeros(()), np.arange(before + _COLUMNS)
    for place, each in enumerate(columns, start=before):
        rows += each * (places == place).astype(np.float32)
    return rows


def _heads_first(query, *others):
    query = query * query.shape[-1] ** -0.5
    return [jnp.swapaxes(tokens, 1, 2) for tokens in (query, *others)]


def _logits(query, key):
    return jnp.matmul(query, jnp.swapaxes(key, -1, -2), preferred_element_type=jnp.float32)
