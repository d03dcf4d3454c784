"""Attention and the entropy of its rows, each by a product of its own: the fastest way on CPU.

XLA on CPU makes one parallel program of a product, its exponentials and its sums, and writes no
logits, if there is one result and nothing in between but plain arithmetic. Attention is such a
program. To have the logits written for the entropy to read them too takes longer than to multiply
once more (docs/speed.md). So the formulas of `entropy` stand here as the literal identities, each
where it has its digits.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from renyi_jax.attention import plain
from renyi_jax.attention.evidence import RowEntropy
from renyi_jax.entropy import attention_entropy, order_of

# An order so close to 1 is taken for 1: the entropy changes by at most (log n)^2 / 8 times that.
_SHANNON_GAP = 1e-7

# Nearer to 1 than this the identity would lose digits: it divides rounding errors by the gap.
_IDENTITY_GAP = 0.2


def attention(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    value: Float[Array, "b n h d"],
    num_prefix: int,
    entropy_of: RowEntropy,
) -> tuple[Float[Array, "b n h d"], Float32[Array, "b h m"]]:
    """As `plain.attention_and_entropy`."""
    if num_prefix and not entropy_of.normalize and not entropy_of.prefix_keys:
        return plain.attention_and_entropy(query, key, value, num_prefix, entropy_of)
    first_key = 0 if entropy_of.prefix_keys else num_prefix
    queries, keys = (jnp.swapaxes(tokens, 1, 2) for tokens in (query, key))
    queries = queries * queries.shape[-1] ** -0.5
    entropy = row_entropy(queries, keys[:, :, first_key:], jnp.asarray(entropy_of.alpha))
    return plain.attention(query, key, value)[0], entropy[:, :, num_prefix:]


@jax.custom_jvp
def row_entropy(
    query: Float[Array, "b h n d"], key: Float[Array, "b h m d"], alpha: Float[Array, ""]
) -> Float32[Array, "b h n"]:
    """Rényi entropy, in nats, of softmax(query . key) over the keys, to 1e-5; queries are
    scaled.
    """
    # XLA of JAX 0.10.2 computes nonsense where several orders that are mapped over are constants.
    alpha = jax.lax.optimization_barrier(alpha)
    gap = jnp.abs(alpha - 1)
    case = (gap > _SHANNON_GAP).astype(jnp.int32) + (gap >= _IDENTITY_GAP) + (alpha == 2)
    entropy = jax.lax.switch(case, (_shannon, _exact, _identity, _square), query, key, alpha)
    return entropy + jnp.where(alpha > 0, 0, jnp.nan)  # a traced order cannot be refused


@row_entropy.defjvp
def _row_entropy_jvp(primals, tangents):
    # Where no gradient is wanted, as of the scores that pruning selects by, only the first is run.
    return row_entropy(*primals), jax.jvp(_exact, primals, tangents)[1]


def _shannon(query, key, alpha):
    t = _below_the_maximum(query, key)
    z = jnp.exp(t)
    Z = jnp.sum(z, axis=-1)
    return jnp.log(Z) - jnp.sum(z * t, axis=-1) / Z


def _exact(query, key, alpha):
    return attention_entropy(_logits(query, key), alpha, num_prefix=0)


def _identity(query, key, alpha):
    """`(LSE(alpha s) - alpha LSE(s)) / (1 - alpha)`."""
    order = order_of(alpha)
    t = _below_the_maximum(query, key)
    Z = jnp.sum(jnp.exp(t), axis=-1)
    Z_alpha = jnp.sum(jnp.exp(order.alpha * t), axis=-1)
    return (order.alpha * jnp.log(Z) - jnp.log(Z_alpha)) / order.delta


def _square(query, key, alpha):
    """Order 2, the default, needs no second exponential."""
    z = jnp.exp(_below_the_maximum(query, key))
    return 2 * jnp.log(jnp.sum(z, axis=-1)) - jnp.log(jnp.sum(z * z, axis=-1))


def _below_the_maximum(query, key):
    s = _logits(query, key)
    return s - jnp.max(s, axis=-1, keepdims=True)


def _logits(query, key):
    return jnp.matmul(query, jnp.swapaxes(key, -1, -2), preferred_element_type=jnp.float32)
