"""Tokens on their way through the blocks, and what a pruned block leaves of them."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from renyi_jax.pruning.record import Record

FUSED = -1
"""The position of a fused token, which has no place in the patch grid."""

MASKED = -2
"""The position of a place that the image no longer needs, and that attention masks."""


class Tokens(NamedTuple):
    """The prefix tokens and `m` patches of each image.

    Attributes:
        values: the tokens, prefix first.
        positions: of the patches in the patch grid, or `FUSED`, or `MASKED`.
        sizes: how many patches each token stands for: more than one where some merged, 0 where one
            is masked; None where every token is one.
        record: of the patches that are left and of those that are gone; None where nobody asks.
    """

    values: Float[Array, "b n d"]
    positions: Int[Array, "b m"]
    sizes: Float[Array, "b n"] | None = None
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
    """What one pruned block decided.

    Attributes:
        scores: importance of the patches that entered the block; -inf for masked ones.
        kept: those that left it, as positions in the original patch grid, ascending (merged ones in
            the order of ToMe); a token that the reducer fused comes last, as `FUSED`, and a place
            that the image does not need is `MASKED`.
    """

    scores: Float[Array, "b m"]
    kept: Int[Array, "b k"]


def on_grid(
    values: Float[Any, "*batch m"], positions: Int[Any, "*#batch m"], grid_size: tuple[int, int]
) -> Float[np.ndarray, "*batch rows columns"]:
    """Returns `values` at their positions in the patch grid, NaN elsewhere.

    Args:
        values: one per token.
        positions: of the tokens; one below 0 has no place in the grid, and is left out.
        grid_size: rows and columns.
    """
    values = np.asarray(values)
    *batch, _ = values.shape
    num_cells = grid_size[0] * grid_size[1]
    # One more cell than the grid has takes what has no place in it.
    cells = np.full((*batch, num_cells + 1), np.nan, values.dtype)
    places = np.where(np.asarray(positions) < 0, num_cells, positions)
    np.put_along_axis(cells, np.broadcast_to(places, values.shape), values, axis=-1)
    return cells[..., :-1].reshape(*batch, *grid_size)
