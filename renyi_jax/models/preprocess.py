"""From the pixels of a loader to what a model sees."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, UInt8


def normalize_images(
    images: UInt8[Array, "*batch height width 3"], mean: Sequence[float], std: Sequence[float]
) -> Float32[Array, "*batch height width 3"]:
    """`(x / 255 - mean) / std` per channel, in float32.

    Meant for the inside of a jitted step: the host then sends a quarter of the bytes.

    Args:
        images: pixels as they were read.
        mean: per channel, for pixels in [0, 1]; a model's own is in its `spec`.
        std: likewise.
    """
    pixels = images.astype(jnp.float32) / 255
    return (pixels - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)


def patches_on_object(
    object_mask: Bool[Array, "b height width"], patch_size: int
) -> Bool[Array, "b n"]:
    """Whether each patch lies on the object: whether any of its pixels does."""
    batch, height, width = object_mask.shape
    grid = object_mask.reshape(
        batch, height // patch_size, patch_size, width // patch_size, patch_size
    )
    return grid.any(axis=(2, 4)).reshape(batch, -1)
