"""What a model does with a few pictures, as the arrays that figures draw."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, UInt8

from renyi_jax.analysis.patch_maps import StageMap, stage_maps
from renyi_jax.models import VisionTransformer, attention_statistics, normalize_images
from renyi_jax.progress import progress
from renyi_jax.pruning import PruningConfig

Pixels = UInt8[np.ndarray, "b height width 3"]


@dataclasses.dataclass(frozen=True)
class AttentionReading:
    """The attention of a model without pruning, over pictures that come one after another.

    Attributes:
        maps: entropy of every patch, mean over heads, in nats.
        entropies: of every head, mean over patches and pictures, in nats.
        distances: how far the attention of every head reaches, likewise, in pixels.
    """

    maps: Float[np.ndarray, "orders blocks b rows columns"]
    entropies: Float[np.ndarray, "orders blocks heads"]
    distances: Float[np.ndarray, "blocks heads"]


def read_attention(
    model: VisionTransformer, pixels: Pixels, alphas: Sequence[float]
) -> AttentionReading:
    """Reads the attention of the model without its pruning.

    Args:
        model: its weights.
        pixels: pictures of its size, which it sees one at a time: the attention of a large picture
            fills the memory soon.
        alphas: orders of the entropy.
    """
    spec, plain = model.spec, model.with_pruning(None)
    maps, entropies, distances = [], [], []
    for image in progress(pixels, "Reading attention", unit="image"):
        images = normalize_images(jnp.asarray(image[None]), spec.mean, spec.std)
        blocks = attention_statistics(plain, images, alphas)
        each = np.stack([block.entropies[:, 0] for block in blocks], axis=1)
        maps.append(each.mean(axis=2).reshape(*each.shape[:2], *spec.grid_size))
        entropies.append(each.mean(axis=-1))
        distances.append(np.stack([block.distances[0].mean(axis=-1) for block in blocks]))
    return AttentionReading(
        np.stack(maps, axis=2), np.mean(entropies, axis=0), np.mean(distances, axis=0)
    )


def read_pruning(
    model: VisionTransformer, pixels: Pixels, settings: Sequence[PruningConfig]
) -> list[list[list[StageMap]]]:
    """What the pruned blocks decide: for each setting, for each picture, the maps of its blocks.

    Settings that differ in alpha alone are compiled once.

    Args:
        model: its weights.
        pixels: pictures of its size, seen one at a time.
        settings: prunings.
    """
    spec = model.spec
    params = nnx.split(model)[1]
    found = []
    for setting in progress(settings, "Reading prunings", unit="pruning"):
        program = nnx.split(model.with_pruning(dataclasses.replace(setting, alpha=1.0)))[0]
        alphas = jnp.asarray(setting.per_block("alpha"), jnp.float32)
        traces = [
            jax.device_get(_trace(program, params, jnp.asarray(image[None]), alphas))
            for image in pixels
        ]
        found.append([stage_maps(setting, trace, spec.grid_size, 0) for trace in traces])
    return found


@functools.partial(jax.jit, static_argnums=0)
def _trace(graphdef: Any, params: Any, pixels, alphas):
    model = nnx.merge(graphdef, params)
    images = normalize_images(pixels, model.spec.mean, model.spec.std)
    return model(images, alphas, return_trace=True)[1]
