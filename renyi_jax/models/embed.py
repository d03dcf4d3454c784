"""From pixels to tokens: normalised images, patches, prefix tokens, learned positions."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, PRNGKeyArray, UInt8

from renyi_jax.errors import UserError
from renyi_jax.models.layers import Linear
from renyi_jax.models.spec import ModelSpec
from renyi_jax.parallel import per_shard
from renyi_jax.pruning import Selection, keep_count, select


class PatchEmbed(nnx.Module):
    """Cuts images into patches and projects each: a convolution whose stride is its width."""

    def __init__(self, spec: ModelSpec, dtype, rngs: nnx.Rngs):
        self.patch_size = spec.patch_size
        pixels = 3 * spec.patch_size**2
        self.proj = Linear(
            pixels, spec.embed_dim, use_bias=not spec.pre_norm, dtype=dtype, rngs=rngs
        )

    def __call__(self, images: Float[Array, "b height width 3"]) -> Float[Array, "b n d"]:
        return self.proj(patchify(images, self.patch_size))


def patchify(images: Float[Array, "b height width 3"], side: int) -> Float[Array, "b n pixels"]:
    """The `side` x `side` patches of each image, row by row, each as one vector."""
    batch, height, width, channels = images.shape
    grid = images.reshape(batch, height // side, side, width // side, side, channels)
    num_patches = (height // side) * (width // side)
    return jnp.swapaxes(grid, 2, 3).reshape(batch, num_patches, side * side * channels)


def prefixed(
    patches: Float[Array, "b m d"],
    prefix: list[Float[Array, "1 _ d"]],
    embedding: Float[Array, "1 _ d"] | None,
) -> Float[Array, "b n d"]:
    """Returns the prefix tokens and the patches, each with its learned position if it has one.

    Args:
        embedding: of all tokens or of the patches alone; None for no learned positions.
    """
    batch, num_patches, width = patches.shape
    tokens = [
        jnp.broadcast_to(token.astype(patches.dtype), (batch, token.shape[1], width))
        for token in prefix
    ]
    if embedding is None:
        return jnp.concatenate([*tokens, patches], axis=1)
    embedding = embedding.astype(patches.dtype)
    if embedding.shape[1] == num_patches:
        return jnp.concatenate([*tokens, patches + embedding], axis=1)
    return jnp.concatenate([*tokens, patches], axis=1) + embedding


def initial_positions(spec: ModelSpec) -> nnx.Param | None:
    """Returns the learned positions to start from: sines and cosines, zero for prefix tokens."""
    if not spec.learned_positions:
        return None
    embedding = sincos_embedding(spec.grid_size, spec.embed_dim)
    rows = spec.num_prefix if spec.prefix_embedded else 0
    return nnx.Param(jnp.pad(embedding, ((rows, 0), (0, 0)))[None])


def sincos_embedding(grid_size: tuple[int, int], features: int) -> Float[Array, "n d"]:
    """Sines and cosines of the column and of the row of every patch, row by row.

    A start from which small models learn sooner than from noise (Beyer et al. 2022,
    arXiv 2205.01580). Wavelengths run from 2 pi to 200 pi patches, the scale of a patch grid.

    Args:
        features: a multiple of 4.
    """
    rows, columns = grid_size
    frequencies = 100.0 ** -jnp.linspace(0, 1, features // 4, endpoint=False)
    row, column = jnp.divmod(jnp.arange(rows * columns, dtype=jnp.float32), columns)
    phases = [axis[:, None] * frequencies for axis in (column, row)]
    return jnp.concatenate([wave(phase) for phase in phases for wave in (jnp.sin, jnp.cos)], axis=1)


def draw_patches(
    images: Float[Array, "b height width 3"],
    patch_size: int,
    drop_rate: float,
    plain_first: bool,
    key: PRNGKeyArray,
) -> Selection:
    """Plans which patches PatchDropout leaves (Liu et al. 2022, arXiv 2208.07220).

    Args:
        images: normalised.
    """
    batch, height, width, _ = images.shape
    scores = jax.random.uniform(key, (batch, (height // patch_size) * (width // patch_size)))
    if plain_first:
        pixels = patchify(images, patch_size)
        colors = pixels.reshape(*pixels.shape[:2], -1, 3)
        scores += jnp.ptp(colors, axis=2).max(axis=-1) > 0
    count = keep_count(scores.shape[1], 1 - drop_rate)
    kept = per_shard(functools.partial(select, count=count), scores)
    return Selection(scores, kept, needed=None, weights=None)


def check_images(images, spec: ModelSpec) -> None:
    """Raises `UserError` for what is no batch of images of the model's size."""
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise UserError(
            f"An array of {images.dtype} and shape {images.shape} is no batch of images;"
            " expected floats [batch, height, width, 3], normalised by"
            " `renyi_jax.models.normalize_images`."
        )
    _, height, width, channels = images.shape
    if channels != 3:
        first = images.shape[1] == 3
        raise UserError(
            f"Images of shape {images.shape} have {channels} channels; expected"
            " [batch, height, width, 3]"
            + (": move their channels last, jnp.moveaxis(images, 1, -1)." if first else ".")
            + (" Repeat the grey channel three times." if channels == 1 else "")
        )
    if (height, width) != spec.image_size:
        expected = " x ".join(map(str, spec.image_size))
        raise UserError(
            f"Images are {height} x {width} pixels and the model was built for {expected};"
            f" resize them, or build it with image_size=({height}, {width})."
        )


def normalize_images(
    images: UInt8[Array, "*batch height width 3"], mean: Sequence[float], std: Sequence[float]
) -> Float32[Array, "*batch height width 3"]:
    """`(x / 255 - mean) / std` per channel, in float32.

    Meant for the inside of a jitted step: the host then sends a quarter of the bytes.

    Args:
        mean: per channel, for pixels in [0, 1]; a model's own is in its `spec`.
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
