"""The positional embedding of another grid of patches."""

import jax
import numpy as np
from jaxtyping import Float

Grid = tuple[int, int]


def resize_pos_embed(
    embedding: Float[np.ndarray, "1 n d"], old_grid: Grid, new_grid: Grid, num_prefix: int
) -> Float[np.ndarray, "1 m d"]:
    """Bicubic interpolation with antialiasing, as timm's `resample_abs_pos_embed`.

    Args:
        embedding: `num_prefix` rows that are kept as they are, then the grid in row-major order.
        old_grid: (rows, columns) of `embedding`.
        new_grid: (rows, columns) of the result.
        num_prefix: rows for prefix tokens; 0 where those have no positional embedding.
    """
    if old_grid == new_grid:
        return embedding
    prefix, patches = embedding[:, :num_prefix], embedding[:, num_prefix:]
    width = embedding.shape[-1]
    resized = jax.image.resize(
        patches.reshape(*old_grid, width), (*new_grid, width), "cubic", antialias=True
    )
    return np.concatenate([prefix, np.asarray(resized).reshape(1, -1, width)], axis=1)
