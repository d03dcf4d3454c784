"""Rotary positions: queries and keys are turned by the place of their patch in the grid."""

import dataclasses
import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int


@dataclasses.dataclass(frozen=True)
class Rotary:
    """Which angle stands for which place (Su et al. 2021, arXiv 2104.09864; on two axes).

    Half of the channel pairs of a head turn by the one coordinate, and half by the other, each pair
    at a frequency of its own: `base ** -(k / pairs)` for the k-th of the `pairs` of one coordinate.
    """

    base: float  # the lowest frequency is nearly its inverse
    # the (rows, columns) that coordinates are stretched to, counted from 1; None for coordinates of
    # the patches' centres, from -1 to 1 over the image, in turns (DINOv3, arXiv 2508.10104)
    reference: tuple[int, int] | None = None
    columns_first: bool = False  # whether the first half of the pairs turns by the column
    # whether neighbouring channels are a pair; otherwise channel i and that which is half a head
    # further
    interleaved: bool = False

    def angles(
        self, positions: Int[Array, "b m"], grid_size: tuple[int, int], head_dim: int
    ) -> Float32[Array, "b m pairs"]:
        """Returns the angle of each pair of channels at each place.

        Args:
            positions: of the patches in the grid, row by row. What has no place there (a fused
                token, below 0) is not turned, as prefix tokens are not.
            head_dim: a multiple of 4.
        """
        places = jnp.divmod(positions, grid_size[1])
        if self.reference is None:
            axes = [
                2 * math.pi * (2 * (place + 0.5) / length - 1)
                for place, length in zip(places, grid_size)
            ]
        else:
            axes = [
                (place + 1) / length * stretched
                for place, length, stretched in zip(places, grid_size, self.reference)
            ]
        axes = axes[::-1] if self.columns_first else axes
        pairs = head_dim // 4
        frequencies = jnp.asarray([self.base ** -(k / pairs) for k in range(pairs)], jnp.float32)
        angles = jnp.concatenate([axis[..., None] * frequencies for axis in axes], axis=-1)
        return jnp.where(positions[..., None] >= 0, angles, 0)

    def turn(
        self,
        heads: Float[Array, "b n h e"],
        positions: Int[Array, "b m"],
        grid_size: tuple[int, int],
    ) -> Float[Array, "b n h e"]:
        """Returns queries or keys, those of the patches turned by their places.

        Args:
            heads: of all tokens, `n - m` prefix tokens first.
        """
        num_prefix = heads.shape[1] - positions.shape[1]
        angles = self.angles(positions, grid_size, heads.shape[-1])[:, :, None]
        cos, sin = jnp.cos(angles), jnp.sin(angles)
        patches = heads[:, num_prefix:].astype(jnp.float32)
        if self.interleaved:
            x, y = patches[..., ::2], patches[..., 1::2]
        else:
            x, y = jnp.split(patches, 2, axis=-1)
        turned = x * cos - y * sin, y * cos + x * sin
        if self.interleaved:
            patches = jnp.stack(turned, axis=-1).reshape(patches.shape)
        else:
            patches = jnp.concatenate(turned, axis=-1)
        return jnp.concatenate([heads[:, :num_prefix], patches.astype(heads.dtype)], axis=1)
