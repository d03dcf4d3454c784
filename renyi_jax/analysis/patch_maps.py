"""What a pruned block decided, laid out on the patch grid."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from renyi_jax.models import PruningTrace
from renyi_jax.pruning import CRITERIA, PruningConfig

_FADES = np.array([[226, 234, 242], [38, 50, 66]])
_NEAR = 70.0  # of RGB levels: colours that the eye takes for each other


class StageMap(NamedTuple):
    """One pruned block's view of one image.

    Attributes:
        block: its number, counted from 1.
        values: what the patches that entered were judged by, NaN where a patch was gone already.
        kept: the patches that left.
        quantity: what `values` are, with their unit.
    """

    block: int
    values: Float[np.ndarray, "rows columns"]
    kept: Bool[np.ndarray, "rows columns"]
    quantity: str


def stage_maps(
    pruning: PruningConfig, trace: Sequence[PruningTrace], grid_size: tuple[int, int], image: int
) -> list[StageMap]:
    """The maps of every pruned block for one image of the batch that `trace` belongs to.

    An entropy is shown as itself, in nats, and not as the importance `-H` that the trace holds.
    """
    maps = []
    positions = np.arange(grid_size[0] * grid_size[1])
    for block, criterion, stage in zip(pruning.blocks, pruning.per_block("criterion"), trace):
        is_entropy = criterion in CRITERIA and CRITERIA[criterion].is_entropy
        scores = np.asarray(stage.scores[image])
        scores = -scores if pruning.reverse else scores
        values = on_grid(-scores if is_entropy else scores, positions, grid_size)
        positions = np.asarray(stage.kept[image])
        kept = ~np.isnan(on_grid(np.zeros(len(positions)), positions, grid_size))
        quantity = "entropy (nats)" if is_entropy else f"{criterion.replace('_', ' ')} score"
        maps.append(StageMap(block, values, kept, quantity))
    return maps


def on_grid(
    values: Float[Any, "m"], positions: Int[Any, "m"], grid_size: tuple[int, int]
) -> Float[np.ndarray, "rows columns"]:
    """`values` at their positions in the patch grid, NaN elsewhere.

    A position below 0 belongs to a token that has no place in the grid, and is left out.
    """
    cells = np.full(grid_size[0] * grid_size[1], np.nan)
    values, positions = np.asarray(values), np.asarray(positions)
    cells[positions[positions >= 0]] = values[positions >= 0]
    return cells.reshape(grid_size)


def grey_out(
    image: UInt8[np.ndarray, "height width 3"], kept: Bool[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The image with its dropped patches faded to a bluish grey, light or dark: that which the
    image itself has less of."""
    height, width, _ = image.shape
    rows, columns = kept.shape
    pixels = kept.repeat(height // rows, axis=0).repeat(width // columns, axis=1)
    distances = [np.linalg.norm(image - fade, axis=-1) for fade in _FADES]
    fade = _FADES[np.argmin([(distance < _NEAR).mean() for distance in distances])]
    faded = (0.12 * image.mean(axis=-1, keepdims=True) + 0.88 * fade).astype(np.uint8)
    return np.where(pixels[..., None], image, faded)
