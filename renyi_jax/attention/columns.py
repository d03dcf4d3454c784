"""What patches receive: sums of the columns of the attention, without an array of its size.

A pass of its own beside attention: the logits are multiplied once more, some queries at a time,
and each row is normalised where it lies. For the gradient they are multiplied again.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from renyi_jax.attention import plain
from renyi_jax.attention.chunked import scan_chunks
from renyi_jax.attention.evidence import ColumnSums

_LOWEST = -1e30  # below the logarithm of any attention, and finite: differences of two are no nan


def column_sums(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    num_prefix: int,
    asked: ColumnSums,
    weights: Float[Array, "b h m"] | None = None,
    sizes: Float[Array, "b n"] | None = None,
) -> Float32[Array, "b h m"]:
    """Returns `log sum_i w_i a_ij^power` over the rows i of patches, for each patch j and head.

    Args:
        query: unscaled queries.
        asked: power and normalisation; heads are not averaged here.
        weights: `w`, at least 0; one where not given.
        sizes: how many tokens each key stands for, as in `plain.attention_logits`.
    """
    if weights is None:
        weights = jnp.ones((query.shape[0], query.shape[2], query.shape[1] - num_prefix))

    @jax.checkpoint
    def add(sums, chunk):
        top, total = sums
        query, weights = chunk
        logits = plain.attention_logits(jnp.swapaxes(query, 1, 2), key, sizes)
        log_a = _log_attention(logits, num_prefix, asked)
        new = jax.lax.stop_gradient(jnp.maximum(top, log_a.max(axis=2)))
        below = log_a - new[:, :, None]
        # A fused program may round the two sides differently, which a power of 1e12 would blow up.
        below = jnp.where(below > 0, 0, below)
        terms = weights[..., None] * jnp.exp(asked.power * below)
        return (new, total * jnp.exp(asked.power * (top - new)) + terms.sum(axis=2)), ()

    start = jnp.full(weights.shape, _LOWEST, jnp.float32), jnp.zeros(weights.shape, jnp.float32)
    queries = jnp.swapaxes(query[:, num_prefix:], 1, 2)
    top, total = scan_chunks(add, start, (queries, weights))[0]
    return asked.power * top + jnp.log(jnp.maximum(total, jnp.finfo(jnp.float32).tiny))


def of_mean_attention(
    logits: Float32[Array, "b h n n"], num_prefix: int, asked: ColumnSums
) -> Float32[Array, "b 1 m"]:
    """Returns `column_sums` of the attention averaged over heads, from all of its logits."""
    log_a = _log_attention(logits[:, :, num_prefix:], num_prefix, asked)
    mean = jax.nn.logsumexp(log_a, axis=1, keepdims=True) - jnp.log(logits.shape[1])
    top = mean.max(axis=2)
    below = asked.power * (mean - top[:, :, None])
    return asked.power * top + jax.nn.logsumexp(below, axis=2)


def _log_attention(logits: Float32[Array, "b h c n"], num_prefix: int, asked: ColumnSums):
    patches = logits[..., num_prefix:]
    rows = patches if asked.normalize else logits
    return patches - jax.nn.logsumexp(rows, axis=-1, keepdims=True)
