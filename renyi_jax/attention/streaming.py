"""Attention and the entropy of its rows, with no array of the size of the attention matrix.

The logits are never all there: they are computed by parts, and again by parts for the gradient,
which needs of a row only its maximum, its log-sum and its entropy. With `a = softmax(s)`, `o` the
output and `s` the logits, the cotangents that meet in a logit are

    ds_j = a_j (do . v_j - do . o + dlse) + dH (dH / ds_j),      lse = LSE(s),

where `dH / ds_j` is the closed form of `entropy.slope_in_logits`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from renyi_jax.attention import chunked
from renyi_jax.attention.backend import backward, forward


@jax.custom_vjp
def stream(
    query: Float[Array, "b h n d"],
    key: Float[Array, "b h m d"],
    value: Float[Array, "b h m d"],
    alpha: Float[Array, ""] | None = None,
) -> tuple[Float[Array, "b h n d"], Float32[Array, "b h n"], Float32[Array, "b h n"]]:
    """Attention over all of the keys given, and of each query the logsumexp and the entropy.

    Args:
        query: scaled queries.
        key: keys.
        value: values; the output has their dtype.
        alpha: order of the entropy, in (0, inf]; None where none is asked for.

    Returns:
        The attended values, `LSE(s)`, and `H_alpha` (without an order, zero).
    """
    return _stream_forward(query, key, value, alpha)[0]


def _stream_forward(query, key, value, alpha):
    attended, rows = forward(query, key, value, alpha)
    entropy = jnp.zeros_like(rows.top) if alpha is None else rows.log_z + rows.spread
    if alpha is not None:
        entropy = jnp.where(alpha > 0, entropy, jnp.nan)  # a traced order cannot be refused
    outputs = attended, rows.top + rows.log_z, entropy
    return outputs, (query, key, value, alpha, attended, rows)


def _stream_backward(residuals, cotangents):
    query, key, value, alpha, attended, rows = residuals
    d_attended, d_lse, d_entropy = cotangents
    overlap = jnp.sum(d_attended.astype(jnp.float32) * attended.astype(jnp.float32), axis=-1)
    d_query, d_key, d_value = backward(
        query, key, value, rows, d_attended, overlap - d_lse, d_entropy, alpha
    )
    d_alpha = None
    if alpha is not None:
        d_alpha = chunked.order_cotangent(query, key, alpha, rows, d_entropy).astype(alpha.dtype)
    return d_query.astype(query.dtype), d_key, d_value, d_alpha


stream.defvjp(_stream_forward, _stream_backward)
