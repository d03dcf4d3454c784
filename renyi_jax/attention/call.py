"""The one attention call of the models."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from renyi_jax.attention import plain
from renyi_jax.attention.backend import PLAIN_TOKENS, scored
from renyi_jax.attention.plain import Score
from renyi_jax.attention.streaming import stream
from renyi_jax.entropy import attention_entropy, unnormalised_entropy


class RowEntropy(NamedTuple):
    """Asks for the entropy of the attention that each patch pays to the patches, per head.

    Attributes:
        alpha: the order, in (0, inf]; may be traced.
        num_prefix: tokens before the patches, left out as queries and as keys.
        normalize: as in `entropy.attention_entropy`.
    """

    alpha: float | Float[Array, ""]
    num_prefix: int
    normalize: bool = True


def attention(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    value: Float[Array, "b n h d"],
    read: Score | RowEntropy | None = None,
    sizes: Float[Array, "b n"] | None = None,
) -> tuple[Float[Array, "b n h d"], Any]:
    """Scaled dot-product attention (Vaswani et al. 2017, equation 1), read on the way.

    Args:
        query: queries of `h` heads, each of width `d`.
        key: keys.
        value: values; the output has their dtype.
        read: what is wanted of the logits. A `RowEntropy` needs no attention matrix, and where
            there are many tokens none is held. A function reads the float32 logits
            `[b, h, n, n]`, and so makes them be held.
        sizes: how many tokens each key stands for, as in `plain.attention_logits`; they too make
            the logits be held.

    Returns:
        The attended values, and what was read: entropies `[b, h, n - num_prefix]`, what the
        function returned, or None. The softmax and the entropy are computed in float32, whatever
        the dtype of the operands.
    """
    if not callable(read):
        if sizes is None and query.shape[1] > PLAIN_TOKENS:
            return streaming_attention(query, key, value, read)
        if sizes is None and read is not None and read.normalize:
            alpha = jnp.asarray(read.alpha, jnp.float32)
            return scored(query, key, value, alpha, read.num_prefix)
        read = functools.partial(_entropy_of, read)
    return plain.attention(query, key, value, read, sizes)


def streaming_attention(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    value: Float[Array, "b n h d"],
    read: RowEntropy | None,
) -> tuple[Float[Array, "b n h d"], Float32[Array, "b h _"] | None]:
    """`attention` that holds no array of the size of the attention matrix.

    The kernels see the patches as keys. The few prefix keys are added to their results: two
    softmaxes are joined by the share that each has of the sum.
    """
    query = query * query.shape[-1] ** -0.5
    query, key, value = (jnp.swapaxes(tokens, 1, 2) for tokens in (query, key, value))
    if read is None:
        return jnp.swapaxes(stream(query, key, value)[0], 1, 2), None

    prefix = read.num_prefix
    alpha = jnp.asarray(read.alpha, jnp.float32)
    attended, lse, entropy = stream(query, key[:, :, prefix:], value[:, :, prefix:], alpha)
    if prefix:
        logits = _product(query, jnp.swapaxes(key[:, :, :prefix], 2, 3))
        log_odds = lse - jax.nn.logsumexp(logits, axis=-1)
        share = jax.nn.sigmoid(log_odds)[..., None]
        to_prefix = (1 - share) * jax.nn.softmax(logits, axis=-1)
        attended = share * attended + _product(to_prefix, value[:, :, :prefix])
        if not read.normalize:
            entropy = unnormalised_entropy(entropy, log_odds, alpha)
    return jnp.swapaxes(attended.astype(value.dtype), 1, 2), entropy[:, :, prefix:]


def _entropy_of(read: RowEntropy | None, logits: Float[Array, "b h n n"]):
    return None if read is None else attention_entropy(logits, *read)


def _product(left: Float[Array, "b h n k"], right: Float[Array, "b h k e"]):
    return jnp.matmul(left, right, preferred_element_type=jnp.float32)
