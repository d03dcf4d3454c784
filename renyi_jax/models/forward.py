"""A model and its weights as one function of pixels."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from renyi_jax.models.embed import normalize_images
from renyi_jax.models.spec import ModelSpec
from renyi_jax.models.vit import Alpha, ReadAttention, VisionTransformer

Weights = Any  # nested dicts of arrays, or of their shapes

Images = (
    UInt8[Array | np.ndarray, "b height width 3"] | Float[Array | np.ndarray, "b height width 3"]
)
"""Pixels from 0 to 255, or floats that are normalised by the mean and deviation of the spec."""


def weights_of(model: VisionTransformer) -> Weights:
    """Returns the weights of a model, of any pruning, as nested dicts of arrays.

    An `nnx.State` would be as good a pytree, but each of its Variables costs every call of a
    compiled function some microseconds.
    """
    return nnx.to_pure_dict(nnx.state(model))


@dataclasses.dataclass(frozen=True)
class Forward:
    """A model without its weights: a pure function of weights and images.

    `jax.jit(forward)` compiles it, for weights that are spread over a mesh too. It hashes, as a
    static argument has to; that takes about a millisecond, so in a loop it is bound instead.
    """

    # what the model is but for its weights, its pruning included
    graph: nnx.GraphDef[VisionTransformer]
    # its shape, and how its pixels are normalised
    spec: ModelSpec = dataclasses.field(compare=False)

    @classmethod
    def of(cls, model: VisionTransformer) -> "Forward":
        """Returns the function that a model computes under its pruning."""
        return cls(nnx.graphdef(model), model.spec)

    def model(self, weights: Weights) -> VisionTransformer:
        """Returns the model with these weights."""
        return nnx.merge(self.graph, weights)

    def normalize(self, images: Images) -> Float[Array, "b height width 3"]:
        """Returns what the model takes: pixels normalised, floats as they are."""
        if images.dtype == jnp.uint8:
            return normalize_images(jnp.asarray(images), self.spec.mean, self.spec.std)
        return jnp.asarray(images)

    def __call__(
        self, weights: Weights, images: Images, alpha: Alpha | None = None, **options: Any
    ) -> Any:
        """Returns what a call of the model does; `options` are its keywords."""
        call: Any = self.model(weights)
        return call(self.normalize(images), alpha, **options)

    def features(
        self, weights: Weights, images: Images, alpha: Alpha | None = None, **options: Any
    ) -> Float[Array, "b n d"] | Float[Array, "b rows columns d"]:
        """Returns what `forward_features` of the model does."""
        return self.model(weights).forward_features(self.normalize(images), alpha, **options)

    def read_attention(
        self,
        weights: Weights,
        images: Images,
        read: ReadAttention | None,
        alpha: Alpha | None = None,
        **options: Any,
    ) -> Any:
        """Returns what `read_attention` of the model does: outputs, and evidence of each block."""
        normalized = self.normalize(images)
        return self.model(weights).read_attention(normalized, read, alpha, **options)
