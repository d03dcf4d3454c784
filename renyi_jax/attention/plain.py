"""Attention that materialises its logits: right on every backend, quadratic in memory."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from renyi_jax.attention.evidence import RowEntropy
from renyi_jax.entropy import attention_entropy


def attention_logits(
    query: Float[Array, "b q h d"],
    key: Float[Array, "b n h d"],
    sizes: Float[Array, "b n"] | None = None,
) -> Float32[Array, "b h q n"]:
    """Returns the scaled attention logits `s[b, h, i, j] = q_i . k_j / sqrt(d)`, in float32.

    With `sizes`, how many tokens each key stands for, plus their logarithm: the softmax then counts
    a key so often, the proportional attention of ToMe (arXiv 2210.09461, equation 1). 0 masks it.
    """
    scale = query.shape[-1] ** -0.5
    keys_last = jnp.moveaxis(key, (1, 2), (3, 1))
    logits = jnp.matmul(_heads_first(query * scale), keys_last, preferred_element_type=jnp.float32)
    return logits if sizes is None else logits + jnp.log(sizes)[:, None, None, :]


def attention(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    value: Float[Array, "b n h d"],
    sizes: Float[Array, "b n"] | None = None,
) -> tuple[Float[Array, "b n h d"], Float32[Array, "b h n n"]]:
    """Returns the attended values and the logits; the softmax is float32 whatever the operands."""
    logits = attention_logits(query, key, sizes)
    weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
    return jnp.swapaxes(weights @ _heads_first(value), 1, 2), logits


def attention_and_entropy(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    value: Float[Array, "b n h d"],
    num_prefix: int,
    entropy_of: RowEntropy,
) -> tuple[Float[Array, "b n h d"], Float32[Array, "b h m"]]:
    """Returns the attended values and the entropies of the patches' rows."""
    attended, logits = attention(query, key, value)
    return attended, row_entropy(logits, num_prefix, entropy_of)


def row_entropy(
    logits: Float32[Array, "b h n n"], num_prefix: int, entropy_of: RowEntropy
) -> Float32[Array, "b heads m"]:
    """Returns the entropies of the patches' rows, per head or of the mean attention."""
    alpha, normalize, heads, prefix_keys = entropy_of
    if heads == "average_first":
        # Softmax does not see that the sum over heads is no mean.
        logits = jax.nn.logsumexp(jax.nn.log_softmax(logits, axis=-1), axis=1, keepdims=True)
    if prefix_keys:
        # Over all keys the softmax is a distribution as it is.
        return attention_entropy(logits, alpha, 0)[..., num_prefix:]
    return attention_entropy(logits, alpha, num_prefix, normalize)


def _heads_first(tokens: Float[Array, "b n h d"]) -> Float[Array, "b h n d"]:
    # Products of plain matrices: XLA on CPU is several times slower at an einsum that has to move
    # the axis of the heads on the way.
    return jnp.swapaxes(tokens, 1, 2)
