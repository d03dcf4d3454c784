"""What becomes of the tokens: a plan of which go on, and its application.

To add a reducer, write the two functions and add them to `REDUCERS`.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from renyi_jax.attention import Evidence
from renyi_jax.parallel import per_shard
from renyi_jax.pruning.criteria import Scores, cls_attention
from renyi_jax.pruning.keep import select, select_mass
from renyi_jax.pruning.merging import Matching, match, merge_by_size
from renyi_jax.pruning.tokens import FUSED, MASKED, Tokens


class Selection(NamedTuple):
    """The plan of reducers that keep the best patches."""

    scores: Float[Array, "b m"]  # importance of the patches that entered; -inf for masked ones
    kept: Int[Array, "b k"]  # ascending indices of those that go on, counted from the first patch
    # of the kept places, those that the image needs; None where it needs all
    needed: Bool[Array, "b k"] | None
    # with which the others are fused; None where they are dropped
    weights: Float[Array, "b m"] | None


def keep_best(scores: Scores, evidence: Evidence, count: int, keep_mass: float) -> Selection:
    """Plans to keep the `count` best patches, or as few of them as hold `keep_mass`."""
    if keep_mass == 1:
        kept, needed = per_shard(functools.partial(select, count=count), scores), None
    else:
        choose = functools.partial(select_mass, count=count, keep_mass=keep_mass)
        kept, needed = per_shard(choose, scores)
    weights = None if evidence.class_row is None else cls_attention(evidence)
    return Selection(scores, kept, needed, weights)


def drop(tokens: Tokens, plan: Selection) -> Tokens:
    """Returns the prefix tokens and the kept patches, in their order."""
    prefix, kept = tokens.num_prefix, plan.kept
    patches = jnp.take_along_axis(
        tokens.values[:, prefix:], kept[..., None], axis=1, mode="promise_in_bounds"
    )
    # A choice by scores that are no numbers must not look like one.
    is_unknown = jnp.isnan(plan.scores).any(axis=1)[:, None, None]
    patches = jnp.where(is_unknown, jnp.nan, patches).astype(patches.dtype)
    values = jnp.concatenate([tokens.values[:, :prefix], patches], axis=1)
    positions = jnp.take_along_axis(tokens.positions, kept, axis=1)
    sizes = tokens.sizes
    if plan.needed is not None:
        positions = jnp.where(plan.needed, positions, MASKED)
        sizes = jnp.ones(tokens.values.shape[:2]) if sizes is None else sizes
    if sizes is not None:
        left = jnp.take_along_axis(sizes[:, prefix:], kept, axis=1)
        left = left if plan.needed is None else left * plan.needed
        sizes = jnp.concatenate([sizes[:, :prefix], left], axis=1)
    return Tokens(values, positions, sizes)


def fuse(tokens: Tokens, plan: Selection) -> Tokens:
    """Returns `drop`, and one last token: the weighted sum of the others (EViT, equation 4).

    EViT's weights are the attention that the class token pays, not renormalised over the patches
    that are fused; without a class token, the attention that a patch receives. An image of which
    nothing is left to fuse has the token masked.
    """
    assert plan.weights is not None  # the reducer's row asks for them
    left = drop(tokens, plan)
    batch = jnp.arange(tokens.values.shape[0])[:, None]
    rest = 0 if plan.needed is None else ~plan.needed
    weights = plan.weights.astype(tokens.values.dtype).at[batch, plan.kept].multiply(rest)
    fused = jnp.einsum("bm,bmd->bd", weights, tokens.values[:, tokens.num_prefix :])
    there, came = (jnp.sum(each.positions != MASKED, axis=1) for each in (left, tokens))
    is_fused = (there < came)[:, None]
    sizes = left.sizes
    if sizes is not None:
        sizes = jnp.concatenate([sizes, is_fused.astype(sizes.dtype)], axis=1)
    return Tokens(
        jnp.concatenate([left.values, fused[:, None]], axis=1),
        jnp.concatenate([left.positions, jnp.where(is_fused, FUSED, MASKED)], axis=1),
        sizes,
    )


def pair_off(scores: Scores | None, evidence: Evidence, count: int, keep_mass: float) -> Matching:
    """Plans to merge the patches with the most similar keys until `count` are left (ToMe)."""
    return match(evidence.keys.mean(axis=2), evidence.num_prefix, count)


def merge(tokens: Tokens, plan: Matching) -> Tokens:
    """Returns the tokens that go on, each the average of what merged into it, by size (ToMe)."""
    sizes = jnp.ones(tokens.values.shape[:2]) if tokens.sizes is None else tokens.sizes
    values, sizes = merge_by_size(tokens.values, sizes, plan, tokens.num_prefix)
    return Tokens(values, jnp.take_along_axis(tokens.positions, plan.left, axis=1), sizes)


def carriers(plan: Matching) -> Int[Array, "b m"]:
    """Returns the patch that each is part of after merging, itself where it goes on."""
    batch = jnp.arange(len(plan.merged))[:, None]
    each = jnp.broadcast_to(jnp.arange(plan.scores.shape[1]), plan.scores.shape)
    targets = jnp.take_along_axis(plan.left, plan.targets, axis=1)
    return each.at[batch, plan.merged].set(targets)


class Reducer(NamedTuple):
    """One row of the table."""

    # `(scores, evidence, count, keep_mass)` to a plan, which has the `scores` it went by
    plan: Callable[[Any, Evidence, int, float], Any]
    apply: Callable[[Tokens, Any], Tokens]  # the tokens that go on
    # `(patches, left, embed_dim, head_dim)` to those of planning and applying
    multiply_adds: Callable[[int, int, int, int], int]
    needs: tuple[str, ...] = ()  # the fields of `Evidence` that the plan reads
    extra_tokens: int = 0  # tokens that it adds
    # the patch that each is part of from now on, where some become part of others
    carriers: Callable[[Any], Int[Array, "b m"]] | None = None
    # what it goes by in the place of a criterion; None where a criterion scores
    own_criterion: str | None = None
    # why it cannot do what a stage asks for, one sentence each
    refuses: Callable[[Any], Iterator[str]] = lambda stage: iter(())
    # the method that reduces so in every block, as the field calls it, where there is one
    published: str | None = None


def _takes_rates(stage: Any) -> Iterator[str]:
    if stage.r is not None:
        yield (
            "r is the number of patches that reducer 'merge' merges away: with reducer"
            f" {stage.reducer!r} give keep_rate."
        )


def _merges(stage: Any) -> Iterator[str]:
    if stage.r is None and stage.keep_rate < 0.5:
        yield (
            "reducer 'merge' pairs patches off, so a block keeps at least half of them:"
            f" keep_rate must be at least 0.5, got {stage.keep_rate!r}."
        )
    if stage.reverse:
        yield "reverse=True turns a ranking round, and reducer 'merge' ranks no patches."
    if stage.keep_mass < 1:
        yield (
            "keep_mass below 1 masks the patches that an image does not need, and reducer"
            " 'merge' makes one token of several: choose 'drop' or 'fuse'."
        )


def _merge_cost(patches: int, left: int, embed_dim: int, head_dim: int) -> int:
    similarities = (patches // 2) * (patches - patches // 2) * head_dim
    return similarities + 2 * patches * embed_dim  # times its size, and divided by it


REDUCERS: dict[str, Reducer] = {
    "drop": Reducer(keep_best, drop, lambda m, k, d, e: 0, refuses=_takes_rates),
    "fuse": Reducer(
        keep_best,
        fuse,
        lambda m, k, d, e: max(m - k + 1, 0) * d,
        needs=("class_row",),
        extra_tokens=1,
        refuses=_takes_rates,
    ),
    "merge": Reducer(
        pair_off,
        merge,
        _merge_cost,
        needs=("keys",),
        carriers=carriers,
        own_criterion="key_similarity",
        refuses=_merges,
        published="ToMe",
    ),
}

DEFAULT_REDUCER = next(iter(REDUCERS))  # the first row
