"""The parts of a Vision Transformer that know nothing of pruning."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32

from renyi_jax.models.spec import ModelSpec
from renyi_jax.parallel import BATCH_AXES, constrain


class Linear(nnx.Linear):
    """A dense layer."""

    def __call__(self, inputs: Float[Array, "*batch d"]) -> Float[Array, "*batch e"]:
        kernel = self.kernel[...].astype(self.dtype)
        return _affine(inputs.astype(self.dtype), kernel, self.added())

    def added(self) -> Float[Array, "e"] | None:
        """Returns what is added to the products; None for nothing."""
        return None if self.bias is None else self.bias[...]


@jax.custom_jvp
def _affine(inputs, kernel, bias):
    """Products plus bias, in the dtype of the inputs.

    On CPU those of 16 bits are rounded last: XLA is up to twice as fast at products of bfloat16
    that it may leave in float32 (docs/speed/tables.md). A GPU is slower so. In training, the
    gradient of such a product would be one of float32 matrices.
    """
    rounded = functools.partial(_affine_in, inputs.dtype)
    if inputs.dtype == jnp.float32:
        return rounded(inputs, kernel, bias)

    def rounded_last(*operands):
        return _affine_in(jnp.float32, *operands).astype(inputs.dtype)

    return jax.lax.platform_dependent(inputs, kernel, bias, cpu=rounded_last, default=rounded)


@_affine.defjvp
def _affine_jvp(primals, tangents):
    dtype = primals[0].dtype
    by_products = dtype != jnp.float32 and jax.sharding.get_abstract_mesh().empty
    affine = _affine_by_products if by_products else functools.partial(_affine_in, dtype)
    return jax.jvp(affine, primals, tangents)


def _affine_in(dtype, inputs, kernel, bias):
    products = _product(inputs, kernel, dtype)
    return products if bias is None else products + bias.astype(dtype)


def _affine_by_products(inputs, kernel, bias):
    """The same; the gradient of the bias is a product too, as XLA on CPU is slow to sum 16 bits."""
    products = _product(inputs, kernel, inputs.dtype)
    if bias is None:
        return products
    ones = jnp.ones((*inputs.shape[:-1], 1), inputs.dtype)
    return products + _product(ones, bias[None].astype(inputs.dtype), inputs.dtype)


def _product(inputs: Float[Array, "*batch d"], kernel: Float[Array, "d e"], dtype: Any):
    """A product of matrices, whatever the leading axes.

    XLA on CPU computes the weight gradient of a contraction over two axes four times slower than
    that of the same product flattened. On a TPU, where training always has a mesh, flattening moves
    the tokens: an image does not end where a tile of memory does.
    """
    multiply = functools.partial(jnp.matmul, preferred_element_type=dtype)

    def flat(inputs, kernel):
        rows = inputs.reshape(math.prod(inputs.shape[:-1]), inputs.shape[-1])
        return multiply(rows, kernel).reshape(*inputs.shape[:-1], kernel.shape[1])

    if jax.sharding.get_abstract_mesh().empty:
        return flat(inputs, kernel)
    return jax.lax.platform_dependent(inputs, kernel, tpu=multiply, default=flat)


class QkvLinear(Linear):
    """Query, key and value of every head; heads lie on the axis `tensor`."""

    def __init__(self, spec: ModelSpec, dtype, rngs: nnx.Rngs):
        width, letters = spec.embed_dim, spec.qkv_bias
        super().__init__(width, 3 * width, use_bias=letters == "qkv", dtype=dtype, rngs=rngs)
        self.num_heads = spec.num_heads
        is_partial = letters == "qv"
        self.q_bias = nnx.Param(jnp.zeros(width)) if is_partial else None
        self.v_bias = nnx.Param(jnp.zeros(width)) if is_partial else None

    def __call__(self, tokens: Float[Array, "b n d"]) -> tuple[Float[Array, "b n h e"], ...]:
        *batch, width = tokens.shape
        heads = self.num_heads, width // self.num_heads
        if jax.sharding.get_abstract_mesh().empty:
            products = super().__call__(tokens).reshape(*batch, 3, *heads)
            return products[:, :, 0], products[:, :, 1], products[:, :, 2]
        # Gathered whole, then cut between heads: no device holds all rows of a head before.
        kernel = constrain(self.kernel[...].astype(self.dtype), None, None)
        kernel = constrain(kernel.reshape(width, 3, *heads), None, None, "tensor", None)
        bias = self.added()

        def part(number: int) -> Float[Array, "b n h e"]:
            # Of one product for all three, a TPU would copy each part into a layout of its own.
            weights = kernel[:, number].reshape(width, width)
            products = _product(tokens.astype(self.dtype), weights, self.dtype)
            if bias is not None:
                products += bias.reshape(3, width)[number].astype(self.dtype)
            return constrain(products.reshape(*batch, *heads), BATCH_AXES, None, "tensor", None)

        return part(0), part(1), part(2)

    def added(self) -> Float[Array, "e"] | None:
        """Returns the biases of all three, zero for one that has none; None for no bias."""
        if self.q_bias is None or self.v_bias is None:
            return super().added()
        query, value = self.q_bias[...], self.v_bias[...]
        return jnp.concatenate([query, jnp.zeros_like(query), value])


def layer_norm(spec: ModelSpec, dtype, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """LayerNorm of tokens.

    The variance is that of the centred values: `E[x^2] - E[x]^2` loses the digits of tokens whose
    mean is far from zero, which pretrained models have.
    """
    return nnx.LayerNorm(
        spec.embed_dim, epsilon=spec.norm_eps, dtype=dtype, use_fast_variance=False, rngs=rngs
    )


class Mlp(nnx.Module):
    """Two dense layers around an activation."""

    def __init__(self, spec: ModelSpec, dropout_rate: float, dtype, rngs: nnx.Rngs):
        self.activation = spec.activation
        self.fc1 = Linear(spec.embed_dim, spec.mlp_dim, dtype=dtype, rngs=rngs)
        self.fc2 = Linear(spec.mlp_dim, spec.embed_dim, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate)

    def __call__(
        self, tokens: Float[Array, "b n d"], *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b n d"]:
        activation = ACTIVATIONS[self.activation]
        # Drawn here, for what is computed again may not draw.
        key = rngs.dropout() if train and rngs is not None and self.dropout.rate else None

        def activate(products):
            return activation(products).astype(tokens.dtype)

        def transform(products):
            return self.fc2(self.dropout(activate(products), deterministic=not train, rngs=key))

        # What is computed again for the gradient: on a mesh all that follows from the first
        # products. Elsewhere, since a CPU would take longer, what the activation is made of, which
        # would be kept in float32, as would its cotangent.
        if train and jax.sharding.get_abstract_mesh().empty:
            activate = jax.checkpoint(activate)
        elif train:
            transform = jax.checkpoint(transform)

        outputs = transform(constrain(self.fc1(tokens), BATCH_AXES, None, "tensor"))
        return self.dropout(outputs, deterministic=not train, rngs=rngs)


class SwiGlu(nnx.Module):
    """A dense layer gated by another, and a third (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, spec: ModelSpec, dropout_rate: float, dtype, rngs: nnx.Rngs):
        self.fc1_g = Linear(spec.embed_dim, spec.mlp_dim, dtype=dtype, rngs=rngs)
        self.fc1_x = Linear(spec.embed_dim, spec.mlp_dim, dtype=dtype, rngs=rngs)
        self.fc2 = Linear(spec.mlp_dim, spec.embed_dim, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate)

    def __call__(
        self, tokens: Float[Array, "b n d"], *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b n d"]:
        gate, hidden = (
            constrain(layer(tokens), BATCH_AXES, None, "tensor").astype(jnp.float32)
            for layer in (self.fc1_g, self.fc1_x)
        )
        hidden = (jax.nn.silu(gate) * hidden).astype(tokens.dtype)
        hidden = self.dropout(hidden, deterministic=not train, rngs=rngs)
        return self.dropout(self.fc2(hidden), deterministic=not train, rngs=rngs)


def mlp(spec: ModelSpec, dropout_rate: float, dtype, rngs: nnx.Rngs) -> Mlp | SwiGlu:
    """Returns the MLP of a model, with weights of its own."""
    kind = SwiGlu if spec.activation == "swiglu" else Mlp
    return kind(spec, dropout_rate, dtype, rngs)


def gelu(x: Float[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """`x Phi(x)`, Phi the normal distribution function (arXiv 1606.08415), exactly.

    With `erf`, as PyTorch has it: the `erfc` of `jax.nn.gelu` takes twice as long on CPU.
    """
    x = x.astype(jnp.float32)
    return 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))


def gelu_tanh(x: Float[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """The approximation of `gelu` by a hyperbolic tangent (arXiv 1606.08415, section 2)."""
    return jax.nn.gelu(x.astype(jnp.float32), approximate=True)


def quick_gelu(x: Float[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """`x sigmoid(1.702 x)`, another approximation (arXiv 1606.08415, section 2), which CLIP has."""
    x = x.astype(jnp.float32)
    return x * jax.nn.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Float[Array, "..."]], Float32[Array, "..."]]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
}


class LayerScale(nnx.Module):
    """A learned factor per channel (Touvron et al. 2021, arXiv 2103.17239, section 2.3)."""

    def __init__(self, features: int, initial: float):
        self.gamma = nnx.Param(jnp.full((features,), initial, jnp.float32))

    def __call__(self, tokens: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        return tokens * self.gamma[...].astype(tokens.dtype)


def layer_scale(features: int, initial: float | None) -> LayerScale | None:
    """`LayerScale`, or None for a model that has none."""
    return None if initial is None else LayerScale(features, initial)
