"""What a pruned block decided, laid out on the patch grid."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from renyi_jax.pruning import PruningConfig, PruningTrace, on_grid

GONE_TONES = (208, 211, 216), (148, 153, 163)
"""RGB of the stripes over a dropped patch: two, as one would be lost on an image of that grey."""

GONE_OPACITY = 0.85


class StageMap(NamedTuple):
    """One pruned block's view of one image."""

    block: int  # its number, counted from 1
    # the scores, or entropies, of the patches that entered; NaN for patches gone before
    values: Float[np.ndarray, "rows columns"]
    kept: Bool[np.ndarray, "rows columns"]  # the patches that left
    quantity: str  # what `values` are, with their unit


def stage_maps(
    pruning: PruningConfig, trace: Sequence[PruningTrace], grid_size: tuple[int, int], image: int
) -> list[StageMap]:
    """The maps of every pruned block for one image of the batch that `trace` belongs to.

    An entropy is shown as itself, in nats, and not as the importance `-H` that the trace holds.
    """
    maps = []
    positions = np.arange(grid_size[0] * grid_size[1])
    for block, stage in zip(pruning.stages, trace):
        is_entropy = block.criterion_row is not None and block.criterion_row.is_entropy
        scores = np.asarray(stage.scores[image])
        scores = -scores if block.reverse else scores
        values = on_grid(-scores if is_entropy else scores, positions, grid_size)
        positions = np.asarray(stage.kept[image])
        kept = ~np.isnan(on_grid(np.zeros(len(positions)), positions, grid_size))
        quantity = (
            "entropy (nats)" if is_entropy else f"{str(block.criterion).replace('_', ' ')} score"
        )
        maps.append(StageMap(block.block, values, kept, quantity))
    return maps


def grey_out(
    image: UInt8[np.ndarray, "height width 3"], kept: Bool[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The image with its dropped patches under diagonal stripes, two to a patch."""
    height, width, _ = image.shape
    rows, columns = kept.shape
    pixels = kept.repeat(height // rows, axis=0).repeat(width // columns, axis=1)
    stripe = max(1, height // rows // 2)
    y, x = np.ogrid[:height, :width]
    stripes = np.array(GONE_TONES)[(x + y) // stripe % 2]
    grey = image.mean(axis=-1, keepdims=True)
    striped = (1 - GONE_OPACITY) * grey + GONE_OPACITY * stripes
    return np.where(pixels[..., None], image, striped.astype(np.uint8))
