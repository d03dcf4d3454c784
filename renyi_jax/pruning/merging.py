"""Token Merging, the bipartite soft matching of ToMe (Bolya et al. 2023, arXiv 2210.09461).

Nothing is scored: patches at even places each find the patch at an odd place whose key is most like
theirs, and the pairs that are most alike become one token, their average by size.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Matching(NamedTuple):
    """Which patches merge into which, as indices that count from the first patch."""

    # importance of every patch: minus the cosine of its key with the most similar key among those
    # that it might merge into; 1, the highest, for those that others merge into
    scores: Float[Array, "b m"]
    # the patches that go on, in ToMe's order: those that found no partner, then those that others
    # merge into, each ascending
    left: Int[Array, "b k"]
    merged: Int[Array, "b r"]  # the patches that are merged away
    targets: Int[Array, "b r"]  # for each of `merged`, its target's place in `left`


def match(keys: Float[Array, "b n d"], num_prefix: int, count: int) -> Matching:
    """Pairs the patches off until `count`, at least half, are left (ToMe, section 3.1).

    `keys` are the mean over heads, a cheap summary of each token; prefix tokens take no part.
    """
    # Places are counted from the first prefix token, as in the published code.
    sources = jnp.arange(num_prefix % 2, keys.shape[1] - num_prefix, 2)
    sinks = jnp.arange(1 - num_prefix % 2, keys.shape[1] - num_prefix, 2)
    patches = keys[:, num_prefix:].astype(jnp.float32)
    patches = patches / jnp.linalg.norm(patches, axis=-1, keepdims=True)
    cosines = jnp.einsum("bid,bjd->bij", patches[:, sources], patches[:, sinks])
    closest = cosines.max(axis=-1)

    num_merged = keys.shape[1] - num_prefix - count
    by_similarity = jnp.argsort(-closest, axis=-1)
    merged, alone = by_similarity[:, :num_merged], jnp.sort(by_similarity[:, num_merged:])
    targets = jnp.take_along_axis(cosines.argmax(axis=-1), merged, axis=1)
    batch = keys.shape[0]
    return Matching(
        scores=jnp.ones(patches.shape[:2]).at[:, sources].set(-closest),
        left=jnp.concatenate(
            [sources[alone], jnp.broadcast_to(sinks, (batch, len(sinks)))], axis=1
        ),
        merged=sources[merged],
        targets=targets + alone.shape[1],
    )


def merge_by_size(
    tokens: Float[Array, "b n d"],
    sizes: Float[Array, "b n"],
    matching: Matching,
    num_prefix: int,
) -> tuple[Float[Array, "b o d"], Float[Array, "b o"]]:
    """Returns the tokens that go on, each the size-weighted mean of what merged into it, and
    sizes.
    """
    weights = sizes[..., None]
    summed = _sum_pairs(tokens.astype(jnp.float32) * weights, matching, num_prefix)
    weights = _sum_pairs(weights, matching, num_prefix)
    return (summed / weights).astype(tokens.dtype), weights[..., 0]


def _sum_pairs(
    tokens: Float[Array, "b n c"], matching: Matching, num_prefix: int
) -> Float[Array, "b o c"]:
    batch = jnp.arange(tokens.shape[0])[:, None]
    patches = tokens[:, num_prefix:]
    summed = (
        patches[batch, matching.left]
        .at[batch, matching.targets]
        .add(patches[batch, matching.merged])
    )
    return jnp.concatenate([tokens[:, :num_prefix], summed], axis=1)
