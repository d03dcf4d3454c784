"""The last state of every patch of an image, whether it is still among the tokens or not."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Record(NamedTuple):
    """What became of the `n` patches of the grid.

    Attributes:
        states: of the token at each place, when it was last seen; the last cell takes what has no
            place.
        homes: the place of the token that each patch is part of now.
    """

    states: Float[Array, "b cells d"]
    homes: Int[Array, "b n"]

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
            positions: of the tokens.
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
