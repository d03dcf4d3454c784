"""cuDNN's fused attention, by `jax.nn.dot_product_attention`: for blocks that nothing is asked of.

It returns no entropy: its logsumexp is rounded to the dtype of the operands and has no gradient.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

WIDEST_HEAD = 128


def takes(query: Float[Array, "b n h d"]) -> bool:
    """Whether the library of a GPU takes such queries."""
    width = query.shape[-1]
    return query.dtype in (jnp.bfloat16, jnp.float16) and width % 8 == 0 and width <= WIDEST_HEAD


@jax.custom_vjp
def attention(
    query: Float[Array, "b n h d"], key: Float[Array, "b n h d"], value: Float[Array, "b n h d"]
) -> Float[Array, "b n h d"]:
    """Returns the attended values, as `plain.attention` does."""
    return jax.nn.dot_product_attention(query, key, value, implementation="cudnn")


def _forward(query, key, value):
    return jax.vjp(_of_even_length, query, key, value)


def _of_even_length(query, key, value):
    """The library has gradients of an even number of tokens only: a masked one makes it even."""
    batch, tokens = query.shape[:2]
    if tokens % 2 == 0:
        return jax.nn.dot_product_attention(query, key, value, implementation="cudnn")
    padded = (jnp.pad(each, ((0, 0), (0, 1), (0, 0), (0, 0))) for each in (query, key, value))
    lengths = jnp.full(batch, tokens, jnp.int32)
    attended = jax.nn.dot_product_attention(
        *padded, query_seq_lengths=lengths, key_value_seq_lengths=lengths, implementation="cudnn"
    )
    return attended[:, :tokens]


def _backward(pull, d_attended):
    return pull(d_attended)


attention.defvjp(_forward, _backward)
