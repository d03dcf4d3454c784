"""Tokens on their way through the blocks, and what a pruned block leaves of them."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

FUSED = -1  # the position of a fused token, which has no place in the patch grid

MASKED = -2  # the position of a place that the image no longer needs, and that attention masks


class Record(NamedTuple):
    """What became of the `n` patches of the grid."""

    # of the token at each place, when it was last seen; the last cell takes what has no place
    states: Float[Array, "b cells d"]
    homes: Int[Array, "b n"]  # the place of the token that each patch is part of now

    @classmethod
    def start(cls, num_patches: int, tokens: Float[Array, "b _ d"]) -> "Record":
        """Returns a record in which no patch has been seen, for such tokens."""
        batch, _, width = tokens.shape
        homes = jnp.broadcast_to(jnp.arange(num_patches), (batch, num_patches))
        return cls(jnp.zeros((batch, num_patches + 1, width), tokens.dtype), homes)

    def seen(self, patches: Float[Array, "b m d"], positions: Int[Array, "b m"]) -> "Record":
        """Returns it with the states of patches at `positions`, below 0 for those of no place."""
        batch = jnp.arange(len(patches))[:, None]
        states = self.states.at[batch, self._cells(positions)].set(patches)
        return self._replace(states=states)

    def merged(self, positions: Int[Array, "b m"], carriers: Int[Array, "b m"]) -> "Record":
        """Returns it with tokens that have become part of others.

        Args:
            carriers: the token that each is part of from now on, as an index of `positions`; itself
                where it goes on. What merges into a token without a place keeps its own.
        """
        cells = self._cells(positions)
        target = jnp.take_along_axis(positions, carriers, axis=1)
        batch = jnp.arange(len(positions))[:, None]
        places = jnp.broadcast_to(jnp.arange(self.states.shape[1]), self.states.shape[:2])
        places = places.at[batch, cells].set(jnp.where(target < 0, cells, target))
        return self._replace(homes=jnp.take_along_axis(places, self.homes, axis=1))

    def patches(self) -> Float[Array, "b n d"]:
        """Returns, of every patch, the state of the token that it is part of."""
        return jnp.take_along_axis(self.states, self.homes[..., None], axis=1)

    def _cells(self, positions: Int[Array, "b m"]) -> Int[Array, "b m"]:
        return jnp.where(positions < 0, self.states.shape[1] - 1, positions)


class Tokens(NamedTuple):
    """The prefix tokens and `m` patches of each image."""

    values: Float[Array, "b n d"]  # the tokens, prefix first
    positions: Int[Array, "b m"]  # of the patches in the patch grid, or `FUSED`, or `MASKED`
    # how many patches each token stands for: more than one where some merged, 0 where one is
    # masked; None where every token is one
    sizes: Float[Array, "b n"] | None = None
    # of the patches that are left and of those that are gone; None where nobody asks
    record: Record | None = None

    @property
    def num_prefix(self) -> int:
        """Tokens before the patches."""
        return self.values.shape[1] - self.positions.shape[1]

    def recorded(self) -> "Tokens":
        """Returns them with their patches written into their record, if there is one."""
        if self.record is None:
            return self
        patches = self.values[:, self.num_prefix :]
        return self._replace(record=self.record.seen(patches, self.positions))

    def plus(self, branch: Float[Array, "b n d"]) -> "Tokens":
        """Returns the tokens after a residual sum."""
        return self._replace(values=self.values + branch)


class PruningTrace(NamedTuple):
    """What one pruned block decided."""

    # importance of the patches that entered the block; -inf for masked ones
    scores: Float[Array, "b m"]
    # those that left it, as positions in the original patch grid, ascending (merged ones in the
    # order of ToMe); a token that the reducer fused comes last, as `FUSED`, and a place that the
    # image does not need is `MASKED`
    kept: Int[Array, "b k"]


def on_grid(
    values: Float[Any, "*batch m"], positions: Int[Any, "*#batch m"], grid_size: tuple[int, int]
) -> Float[np.ndarray, "*batch rows columns"]:
    """Returns `values` at their positions in the patch grid, NaN elsewhere.

    Args:
        positions: of the tokens; one below 0 has no place in the grid, and is left out.
    """
    values = np.asarray(values)
    *batch, _ = values.shape
    num_cells = grid_size[0] * grid_size[1]
    # One more cell than the grid has takes what has no place in it.
    cells = np.full((*batch, num_cells + 1), np.nan, values.dtype)
    places = np.where(np.asarray(positions) < 0, num_cells, positions)
    np.put_along_axis(cells, np.broadcast_to(places, values.shape), values, axis=-1)
    return cells[..., :-1].reshape(*batch, *grid_size)
