"""What becomes of the tokens once the kept patches are chosen.

To add a reducer, write a pure function of tokens and indices and add it to `REDUCERS`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Tokens = Float[Array, "b n d"]
Kept = Int[Array, "b k"]
Needed = Bool[Array, "b k"]
Weights = Float[Array, "b m"]


def drop(
    tokens: Tokens, kept: Kept, weights: Weights | None, num_prefix: int, needed: Needed | None
) -> Float[Array, "b k+{num_prefix} d"]:
    """The prefix tokens and the kept patches, in their order.

    Args:
        tokens: `n = num_prefix + m` tokens.
        kept: ascending indices of the kept patches, counted from the first patch.
        weights: unused.
        num_prefix: prefix tokens, always kept.
        needed: unused.
    """
    patches = jnp.take_along_axis(
        tokens[:, num_prefix:], kept[..., None], axis=1, mode="promise_in_bounds"
    )
    return jnp.concatenate([tokens[:, :num_prefix], patches], axis=1)


def fuse(
    tokens: Tokens, kept: Kept, weights: Weights, num_prefix: int, needed: Needed | None
) -> Float[Array, "b k+{num_prefix}+1 d"]:
    """`drop`, and one last token: the sum of the others, weighted (EViT, equation 4).

    Args:
        tokens: `n = num_prefix + m` tokens.
        kept: ascending indices of the kept patches.
        weights: one weight per patch. EViT takes the attention that the class token pays, and
            does not renormalise it over the patches that it fuses.
        num_prefix: prefix tokens, always kept.
        needed: of the kept patches, those that go on; the others are fused too. All by default.
    """
    batch = jnp.arange(tokens.shape[0])[:, None]
    rest = 0 if needed is None else ~needed
    weights = weights.astype(tokens.dtype).at[batch, kept].multiply(rest)
    fused = jnp.einsum("bm,bmd->bd", weights, tokens[:, num_prefix:])
    return jnp.concatenate([drop(tokens, kept, None, num_prefix, None), fused[:, None]], axis=1)


class Reducer(NamedTuple):
    """One row of the table: the function, and the number of tokens that it adds."""

    reduce: Callable[..., Float[Array, "b _ d"]]
    extra_tokens: int


REDUCERS: dict[str, Reducer] = {"drop": Reducer(drop, 0), "fuse": Reducer(fuse, 1)}
