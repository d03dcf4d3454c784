"""The parts of a Vision Transformer that know nothing of pruning."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32

from renyi_jax.parallel import BATCH_AXES, constrain


class Linear(nnx.Linear):
    """A dense layer that multiplies matrices, whatever the leading axes.

    XLA on CPU computes the weight gradient of a contraction over two axes four times slower than
    that of the same product flattened.
    """

    def __call__(
        self, inputs: Float[Array, "*batch d"], out_dtype: Any = None
    ) -> Float[Array, "*batch e"]:
        """The products, in `out_dtype`; by default they are rounded to what is computed in."""
        rows = inputs.reshape(math.prod(inputs.shape[:-1]), inputs.shape[-1]).astype(self.dtype)
        kernel = self.kernel[...].astype(self.dtype)
        outputs = jnp.matmul(rows, kernel, preferred_element_type=out_dtype or self.dtype)
        assert self.bias is not None  # nnx.Linear's own default
        outputs += self.bias[...].astype(outputs.dtype)
        return outputs.reshape(*inputs.shape[:-1], kernel.shape[1])


class QkvLinear(Linear):
    """Query, key and value of every head, in one product; heads lie on the axis `tensor`."""

    def __init__(self, features: int, num_heads: int, dtype, rngs: nnx.Rngs):
        super().__init__(features, 3 * features, dtype=dtype, rngs=rngs)
        self.num_heads = num_heads

    def __call__(self, tokens: Float[Array, "b n d"]) -> Float[Array, "b n 3 h e"]:
        heads = (3, self.num_heads, tokens.shape[-1] // self.num_heads)
        if jax.sharding.get_abstract_mesh().empty:
            return super().__call__(tokens).reshape(*tokens.shape[:2], *heads)
        dtype = self.dtype
        # Gathered whole, then cut between heads: no device holds all rows of a head before.
        kernel = constrain(self.kernel[...].astype(dtype), None, None)
        kernel = kernel.reshape(tokens.shape[-1], *heads)
        kernel = constrain(kernel, None, None, "tensor", None)
        products = jnp.tensordot(tokens.astype(dtype), kernel, axes=1)
        assert self.bias is not None  # nnx.Linear's own default
        bias = self.bias[...].astype(dtype).reshape(heads)
        return constrain(products + bias, BATCH_AXES, None, None, "tensor", None)


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
        self.proj = Linear(3 * patch_size**2, embed_dim, dtype=dtype, rngs=rngs)

    def __call__(self, images: Float[Array, "b height width 3"]) -> Float[Array, "b n d"]:
        return self.proj(patchify(images, self.patch_size))


def patchify(images: Float[Array, "b height width 3"], side: int) -> Float[Array, "b n pixels"]:
    """The `side` x `side` patches of each image, row by row, each as one vector."""
    batch, height, width, channels = images.shape
    grid = images.reshape(batch, height // side, side, width // side, side, channels)
    num_patches = (height // side) * (width // side)
    return jnp.swapaxes(grid, 2, 3).reshape(batch, num_patches, side * side * channels)


class Mlp(nnx.Module):
    """Two dense layers around an exact GELU."""

    def __init__(self, features: int, hidden: int, dropout_rate: float, dtype, rngs: nnx.Rngs):
        self.fc1 = Linear(features, hidden, dtype=dtype, rngs=rngs)
        self.fc2 = Linear(hidden, features, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate)

    def __call__(
        self, tokens: Float[Array, "b n d"], *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b n d"]:
        # Not rounded before GELU: on CPU that makes products of bfloat16 faster (docs/speed.md). In
        # training, the gradient of such a product would be one of float32 matrices.
        hidden = self.fc1(tokens, None if train else jnp.float32)
        hidden = constrain(hidden, BATCH_AXES, None, "tensor")
        # Computed again for the gradient: what it is made of would be kept in float32.
        hidden = (jax.checkpoint(gelu) if train else gelu)(hidden).astype(tokens.dtype)
        hidden = self.dropout(hidden, deterministic=not train, rngs=rngs)
        return self.dropout(self.fc2(hidden), deterministic=not train, rngs=rngs)


def gelu(x: Float[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """`x Phi(x)`, Phi the normal distribution function (arXiv 1606.08415), exactly.

    With `erf`, as PyTorch has it: the `erfc` of `jax.nn.gelu` takes twice as long on CPU.
    """
    x = x.astype(jnp.float32)
    return 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))


class LayerScale(nnx.Module):
    """A learned factor per channel (Touvron et al. 2021, arXiv 2103.17239, section 2.3)."""

    def __init__(self, features: int, initial: float):
        self.gamma = nnx.Param(jnp.full((features,), initial, jnp.float32))

    def __call__(self, tokens: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        return tokens * self.gamma[...].astype(tokens.dtype)


def layer_scale(features: int, initial: float | None) -> LayerScale | None:
    """`LayerScale`, or None for a model that has none."""
    return None if initial is None else LayerScale(features, initial)


def sincos_embedding(grid_size: tuple[int, int], features: int) -> Float[Array, "n d"]:
    """Sines and cosines of the column and of the row of every patch, row by row.

    A start from which small models learn sooner than from noise (Beyer et al. 2022,
    arXiv 2205.01580). Wavelengths run from 2 pi to 200 pi patches, the scale of a patch grid.

    Args:
        grid_size: rows and columns.
        features: a multiple of 4.
    """
    rows, columns = grid_size
    frequencies = 100.0 ** -jnp.linspace(0, 1, features // 4, endpoint=False)
    row, column = jnp.divmod(jnp.arange(rows * columns, dtype=jnp.float32), columns)
    phases = [axis[:, None] * frequencies for axis in (column, row)]
    return jnp.concatenate([wave(phase) for phase in phases for wave in (jnp.sin, jnp.cos)], axis=1)
