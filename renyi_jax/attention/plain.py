"""Attention that materialises its logits: right on every backend, quadratic in memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Score = Callable[[Float[Array, "b h n n"]], Any]


def attention_logits(
    query: Float[Array, "b q h d"],
    key: Float[Array, "b n h d"],
    sizes: Float[Array, "b n"] | None = None,
) -> Float[Array, "b h q n"]:
    """The scaled attention logits `s[b, h, i, j] = q_i . k_j / sqrt(d)`, in float32.

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
    score: Score,
    sizes: Float[Array, "b n"] | None = None,
) -> tuple[Float[Array, "b n h d"], Any]:
    """Scaled dot-product attention (Vaswani et al. 2017, equation 1), scored on the way.

    Args:
        query: queries of `h` heads, each of width `d`.
        key: keys.
        value: values; the output has their dtype.
        score: reads the float32 logits and returns what a criterion needs of them.
        sizes: how many tokens each key stands for, as in `attention_logits`.

    Returns:
        The attended values, and what `score` returned. The softmax is
        computed in float32 whatever the dtype of the operands.
    """
    logits = attention_logits(query, key, sizes)
    weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
    attended = jnp.swapaxes(weights @ _heads_first(value), 1, 2)
    return attended, score(logits)


def whole_logits(logits: Float[Array, "b h n n"]) -> Float[Array, "b h n n"]:
    """The `score` that wants the logits themselves."""
    return logits


def _heads_first(tokens: Float[Array, "b n h d"]) -> Float[Array, "b h n d"]:
    # Products of plain matrices: XLA on CPU is several times slower at an einsum that has to move
    # the axis of the heads on the way.
    return jnp.swapaxes(tokens, 1, 2)
