"""The parts of a Vision Transformer that know nothing of pruning."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class Linear(nnx.Linear):
    """A dense layer with the ViT's initialisation: truncated normal of deviation 0.02, bias 0.

    Multiplies matrices, whatever the leading axes: XLA on CPU computes the weight gradient of a
    contraction over two axes four times slower than that of the same product flattened.
    """

    def __init__(self, in_features: int, out_features: int, dtype, rngs: nnx.Rngs):
        super().__init__(
            in_features,
            out_features,
            dtype=dtype,
            kernel_init=nnx.initializers.truncated_normal(0.02),
            rngs=rngs,
        )

    def __call__(self, inputs: Float[Array, "*batch d"]) -> Float[Array, "*batch e"]:
        outputs = super().__call__(inputs.reshape(-1, inputs.shape[-1]))
        return outputs.reshape(*inputs.shape[:-1], -1)


def layer_norm(features: int, dtype, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """LayerNorm with the epsilon of every ViT that timm publishes.

    The variance is that of the centred values: `E[x^2] - E[x]^2` loses the digits of tokens whose
    mean is far from zero, which pretrained models have.
    """
    return nnx.LayerNorm(features, epsilon=1e-6, dtype=dtype, use_fast_variance=False, rngs=rngs)


class PatchEmbed(nnx.Module):
    """Cuts images into patches and projects each: a convolution whose stride is its width."""

    def __init__(self, patch_size: int, embed_dim: int, dtype, rngs: nnx.Rngs):
        self.patch_size = patch_size
        self.proj = Linear(3 * patch_size**2, embed_dim, dtype, rngs)

    def __call__(self, images: Float[Array, "b height width 3"]) -> Float[Array, "b n d"]:
        batch, height, width, channels = images.shape
        side = self.patch_size
        grid = images.reshape(batch, height // side, side, width // side, side, channels)
        patches = jnp.swapaxes(grid, 2, 3).reshape(batch, -1, side * side * channels)
        return self.proj(patches)


class Mlp(nnx.Module):
    """Two dense layers around an exact GELU."""

    def __init__(self, features: int, hidden: int, dropout_rate: float, dtype, rngs: nnx.Rngs):
        self.fc1 = Linear(features, hidden, dtype, rngs)
        self.fc2 = Linear(hidden, features, dtype, rngs)
        self.dropout = nnx.Dropout(dropout_rate)

    def __call__(
        self, tokens: Float[Array, "b n d"], *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b n d"]:
        hidden = nnx.gelu(self.fc1(tokens), approximate=False)
        hidden = self.dropout(hidden, deterministic=not train, rngs=rngs)
        return self.dropout(self.fc2(hidden), deterministic=not train, rngs=rngs)


class LayerScale(nnx.Module):
    """A learned factor per channel (Touvron et al. 2021, arXiv 2103.17239, section 2.3)."""

    def __init__(self, features: int, initial: float):
        self.gamma = nnx.Param(jnp.full((features,), initial, jnp.float32))

    def __call__(self, tokens: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        return tokens * self.gamma[...].astype(tokens.dtype)


def layer_scale(features: int, initial: float | None) -> LayerScale | None:
    """`LayerScale`, or None for a model that has none."""
    return None if initial is None else LayerScale(features, initial)
