"""What the head sees of the tokens: the class token, the mean of the patches, or attention."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32

from renyi_jax.attention.plain import attention_logits
from renyi_jax.models.layers import Linear, layer_norm, mlp
from renyi_jax.models.spec import ModelSpec
from renyi_jax.pruning import Tokens


def class_token(tokens: Tokens) -> Float[Array, "b d"]:
    """Returns the first token."""
    return tokens.values[:, 0]


def mean_of_patches(tokens: Tokens) -> Float[Array, "b d"]:
    """Returns the mean of the tokens that are no prefix, each counted by its size."""
    patches = tokens.values[:, tokens.num_prefix :]
    if tokens.sizes is None:
        return patches.mean(axis=1)
    sizes = tokens.sizes[:, tokens.num_prefix :, None]
    mean = jnp.sum(patches.astype(jnp.float32) * sizes, axis=1) / sizes.sum(axis=1)
    return mean.astype(patches.dtype)


POOLS: dict[str, Callable[[Tokens], Float[Array, "b d"]]] = {
    "token": class_token,
    "mean": mean_of_patches,
}


class AttentionPool(nnx.Module):
    """One learned query attends to the tokens (Zhai et al. 2022, arXiv 2106.04560, section 3).

    A token counts by its size, as in the blocks.
    """

    def __init__(self, spec: ModelSpec, dtype, rngs: nnx.Rngs):
        width = spec.embed_dim
        self.num_heads = spec.pool_heads or spec.num_heads
        self.reads_prefix = spec.pool_prefix
        self.latent = nnx.Param(
            nnx.initializers.truncated_normal(width**-0.5)(rngs.params(), (1, 1, width))
        )
        self.q = Linear(width, width, dtype=dtype, rngs=rngs)
        self.kv = Linear(width, 2 * width, dtype=dtype, rngs=rngs)
        self.proj = Linear(width, width, dtype=dtype, rngs=rngs)
        self.norm = layer_norm(spec, dtype, rngs)
        self.mlp = mlp(spec, 0.0, dtype, rngs)

    def __call__(self, tokens: Tokens) -> Float[Array, "b d"]:
        first = 0 if self.reads_prefix else tokens.num_prefix
        values = tokens.values[:, first:]
        sizes = None if tokens.sizes is None else tokens.sizes[:, first:]
        weights, value = self._read(values, sizes)
        pooled = jnp.einsum("bhn,bnhe->bhe", weights.astype(value.dtype), value)
        batch, _, width = values.shape
        pooled = self.proj(pooled.reshape(batch, 1, width))
        return (pooled + self.mlp(self.norm(pooled)))[:, 0]

    def attention(self, values: Float[Array, "b n d"]) -> Float32[Array, "b h n"]:
        """Returns what the query pays to each token: a score of patches without a class token.

        Args:
            values: tokens after the last norm, as `forward_features` returns them; their softmax is
                over all of these.
        """
        return self._read(values, None)[0]

    def _read(self, values, sizes):
        batch, length, width = values.shape
        heads = self.num_heads, width // self.num_heads
        query = self.q(self.latent[...]).reshape(1, 1, *heads)
        query = jnp.broadcast_to(query, (batch, 1, *heads))
        key, value = jnp.moveaxis(self.kv(values).reshape(batch, length, 2, *heads), 2, 0)
        return jax.nn.softmax(attention_logits(query, key, sizes)[:, :, 0], axis=-1), value
