"""The attention of every block as arrays: itself, its entropy, and how far it reaches."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from renyi_jax.entropy import attention_entropy, known_orders
from renyi_jax.errors import UserError
from renyi_jax.models.forward import Forward, Images, weights_of
from renyi_jax.models.vit import VisionTransformer
from renyi_jax.pruning import on_grid

Pictures = Images | Sequence[Any]
"""Normalised by the mean and deviation of `model.spec`, or pixels from 0 to 255, which become so:
arrays, or a list of Pillow images or arrays of one picture each."""


class AttentionStatistics(NamedTuple):
    """What one block's attention is like, for each patch that entered it and each head."""

    # of the patches in the patch grid; below 0 for a token that has no place there
    positions: Int[Array, "b m"]
    # in nats, of the attention that each patch pays to the patches, for each order
    entropies: Float32[Array, "orders b h m"]
    # in pixels, from each patch to those that it attends to, weighted by the attention (Dosovitskiy
    # et al. 2021, appendix D.7).
    distances: Float32[Array, "b h m"]


def attention_maps(
    model: VisionTransformer, images: Pictures
) -> tuple[Float32[Array, "b h _ _"], ...]:
    """The attention weights of every block.

    Args:
        model: as it is; after a pruned block it has fewer tokens. `model.with_pruning(None)` keeps
            them all.
        images: of the model's size, as `Pictures` has them.

    Returns:
        One array for each block: softmax over the last axis, prefix tokens first on both of the
        last axes.

    Raises:
        UserError: images of another kind, or of another size.
    """
    return _attention(Forward.of(model), weights_of(model), _stacked(images))


def entropy_maps(
    model: VisionTransformer, images: Pictures, alphas: float | Sequence[float] = (1.0, 2.0, 4.0)
) -> Float32[np.ndarray, "orders blocks b rows columns"]:
    """The entropy of the attention that every patch pays to the patches, mean over heads, in nats.

    Args:
        model: as it is; patches that it has dropped before a block are NaN there.
        images: of the model's size, as `Pictures` has them.
        alphas: orders of the entropy, in (0, inf].

    Returns:
        The maps on the patch grid, for each order and block. Between 0 and log(patches).

    Raises:
        UserError: an order outside (0, inf], or images of another kind or size.
    """
    blocks = attention_statistics(model, images, alphas)
    grid = model.spec.grid_size
    maps = [on_grid(block.entropies.mean(axis=2), block.positions, grid) for block in blocks]
    return np.stack(maps, axis=1)


def attention_statistics(
    model: VisionTransformer, images: Pictures, alphas: float | Sequence[float]
) -> tuple[AttentionStatistics, ...]:
    """The statistics of every block; arguments and errors as in `entropy_maps`."""
    orders = np.atleast_1d(known_orders(alphas))
    statistics = _statistics(Forward.of(model), weights_of(model), _stacked(images), orders)
    return jax.device_get(statistics)


def attention_distance(
    logits: Float[Array, "b h n n"],
    positions: Int[Array, "b m"],
    grid_size: tuple[int, int],
    patch_size: int,
) -> Float32[Array, "b h m"]:
    """The mean distance of what each patch attends to, in pixels from centre to centre.

    The attention is renormalised over the patches, and over those that have a place in the grid.

    Args:
        logits: scaled attention logits, the `n - m` prefix tokens first.
        positions: of the patches in the grid, row by row; below 0 for a token without a place.
    """
    num_prefix = logits.shape[-1] - positions.shape[-1]
    places = jnp.stack(jnp.divmod(positions, grid_size[1]), axis=-1).astype(jnp.float32)
    steps = jnp.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
    patches = logits[:, :, num_prefix:, num_prefix:].astype(jnp.float32)
    patches = jnp.where(positions[:, None, None] >= 0, patches, -jnp.inf)
    return patch_size * jnp.sum(jax.nn.softmax(patches, axis=-1) * steps[:, None], axis=-1)


def _stacked(images: Pictures) -> Images:
    """One array of the images; the model tells itself what has another size or shape."""
    if not isinstance(images, np.ndarray | jax.Array):
        pictures = [np.asarray(each) for each in images]
        shapes = {picture.shape for picture in pictures}
        if len(shapes) != 1:
            raise UserError(
                f"The images have the shapes {sorted(shapes)}; expected one for all."
                " `renyi_jax.inference.crop_picture` brings a picture to the model's size."
            )
        images = np.stack(pictures)
    return images


# A `Forward` hashes, so that the same model is compiled once.
@functools.partial(jax.jit, static_argnums=0)
def _attention(forward: Forward, weights, images):
    def read(_: int, logits: Float[Array, "b h n n"]) -> Float[Array, "b h n n"]:
        return jax.nn.softmax(logits, axis=-1)

    return forward.read_attention(weights, images, read)[1]


@functools.partial(jax.jit, static_argnums=0)
def _statistics(forward: Forward, weights, images, alphas):
    model, images = forward.model(weights), forward.normalize(images)
    spec = forward.spec
    entering = _positions(model, images)

    def read(block: int, logits: Float[Array, "b h n n"]) -> AttentionStatistics:
        positions = entering[block - 1]
        num_prefix = logits.shape[-1] - positions.shape[-1]
        entropies = jax.lax.map(lambda each: attention_entropy(logits, each, num_prefix), alphas)
        distances = attention_distance(logits, positions, spec.grid_size, spec.patch_size)
        return AttentionStatistics(positions, entropies, distances)

    return model.read_attention(images, read)[1]


def _positions(model: VisionTransformer, images) -> list[Int[Array, "b _"]]:
    """The positions of the patches that enter each block."""
    num_patches = model.spec.num_patches
    current = jnp.broadcast_to(jnp.arange(num_patches), (len(images), num_patches))
    if model.pruning is None:
        return [current] * model.spec.depth
    # The same forward pass as that which is read: the compiler computes it once.
    outputs: Any = model(images, return_trace=True)
    traces = dict(zip(model.pruning.blocks, outputs[1]))
    entering = []
    for block in range(1, model.spec.depth + 1):
        entering.append(current)
        current = traces[block].kept if block in traces else current
    return entering
