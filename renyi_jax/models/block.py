"""The pruned block: where the method happens."""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from renyi_jax.attention import RowEntropy, Score, attention, attention_logits, whole_logits
from renyi_jax.models.layers import Linear, Mlp, QkvLinear, layer_norm, layer_scale
from renyi_jax.models.spec import ModelSpec
from renyi_jax.parallel import BATCH_AXES, constrain, per_shard
from renyi_jax.pruning import (
    CRITERIA,
    MERGE,
    REDUCERS,
    PruningStage,
    cls_attention,
    match,
    merge,
    score_patches,
    select,
    select_mass,
)

FUSED = -1
"""The position of a fused token, which has no place in the patch grid."""

MASKED = -2
"""The position of a place that the image no longer needs, and that attention masks."""


class Tokens(NamedTuple):
    """Tokens on their way through the blocks.

    Attributes:
        values: the tokens, prefix first.
        positions: where in the patch grid the patches came from.
        sizes: how many patches each token stands for: more than one where some merged, 0 where one
            is masked; None where every token is one.
    """

    values: Float[Array, "b n d"]
    positions: Int[Array, "b m"]
    sizes: Float[Array, "b n"] | None = None

    def plus(self, branch: Float[Array, "b n d"]) -> "Tokens":
        """The tokens after a residual sum."""
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


class Reading(NamedTuple):
    """What a block gets to know of its attention.

    Attributes:
        answer: to what it asked: entropies, logits, or None.
        class_logits: of the class token, `[b, h, 1, n]`.
        keys: averaged over heads.
    """

    answer: Any
    class_logits: Float[Array, "b h 1 n"]
    keys: Float[Array, "b n head_dim"]


class Attention(nnx.Module):
    """Multi-head self-attention, read on the way."""

    def __init__(self, spec: ModelSpec, dropout_rate: float, dtype, rngs: nnx.Rngs):
        self.qkv = QkvLinear(spec.embed_dim, spec.num_heads, dtype, rngs)
        self.proj = Linear(spec.embed_dim, spec.embed_dim, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate)

    def __call__(
        self,
        values: Float[Array, "b n d"],
        sizes: Float[Array, "b n"] | None,
        question: Score | RowEntropy | None,
        *,
        train: bool,
        rngs: nnx.Rngs | None,
    ) -> tuple[Float[Array, "b n d"], Reading]:
        qkv = self.qkv(values)
        query, key, value = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        if callable(question) or sizes is not None:
            attended, answer = attention(query, key, value, question, sizes)
        else:
            attended, answer = _attention_per_shard(query, key, value, question)
        branch = self.proj(attended.reshape(values.shape))
        branch = self.dropout(branch, deterministic=not train, rngs=rngs)
        class_logits = attention_logits(query[:, :1], key, sizes)
        return branch, Reading(answer, class_logits, key.mean(axis=2))


def _attention_per_shard(query, key, value, question: RowEntropy | None):
    """`attention`, each device for its own images and heads: no compiler splits a kernel."""

    def attend(query, key, value, alpha=None):
        read = None if question is None else question._replace(alpha=alpha)
        return attention(query, key, value, read)

    return per_shard(
        attend,
        query,
        key,
        value,
        axes=(BATCH_AXES, None, "tensor", None),
        results=(
            PartitionSpec(BATCH_AXES, None, "tensor"),
            None if question is None else PartitionSpec(BATCH_AXES, "tensor"),
        ),
        whole=None if question is None else jnp.asarray(question.alpha, jnp.float32),
    )


class Block(nnx.Module):
    """Attention, pruning, MLP: the method of arXiv 2604.03803, top to bottom."""

    def __init__(
        self, spec: ModelSpec, drop_path_rate: float, dropout_rate: float, dtype, rngs: nnx.Rngs
    ):
        self.num_prefix = spec.num_prefix
        self.norm1 = layer_norm(spec.embed_dim, dtype, rngs)
        self.attn = Attention(spec, dropout_rate, dtype, rngs)
        self.ls1 = layer_scale(spec.embed_dim, spec.layer_scale)
        self.norm2 = layer_norm(spec.embed_dim, dtype, rngs)
        self.mlp = Mlp(spec.embed_dim, spec.mlp_dim, dropout_rate, dtype, rngs)
        self.ls2 = layer_scale(spec.embed_dim, spec.layer_scale)
        # Stochastic depth: one draw per image decides the whole residual branch.
        self.drop_path = nnx.Dropout(drop_path_rate, broadcast_dims=(1, 2))

    def __call__(
        self,
        tokens: Tokens,
        stage: PruningStage | None,
        alpha: Float[Array, ""] | None,
        draws: Float[Array, "b patches"] | None,
        read: Score | None,
        *,
        train: bool,
        rngs: nnx.Rngs | None,
    ) -> tuple[Tokens, PruningTrace | None, Any]:
        question = self._question(stage, alpha, read)
        drop_path = functools.partial(self.drop_path, deterministic=not train, rngs=rngs)

        branch, seen = self.attn(
            self.norm1(tokens.values), tokens.sizes, question, train=train, rngs=rngs
        )
        reading = None if read is None else read(seen.answer)
        tokens = tokens.plus(drop_path(branch if self.ls1 is None else self.ls1(branch)))

        trace = None
        if stage is not None and stage.reducer == MERGE:
            tokens, trace = self._merge(stage, tokens, seen.keys)
        elif stage is not None:
            scores, weights = self._score(stage, question, seen, alpha, draws)
            tokens, trace = self._prune(stage, tokens, scores, weights)

        branch = self.mlp(self.norm2(tokens.values), train=train, rngs=rngs)
        tokens = tokens.plus(drop_path(branch if self.ls2 is None else self.ls2(branch)))
        values = constrain(tokens.values, BATCH_AXES, None, None)
        return tokens._replace(values=values), trace, reading

    def _question(self, stage: PruningStage | None, alpha, read: Score | None):
        """What is asked of the attention: as little as the criterion can do with."""
        if read is not None:
            return whole_logits
        if stage is None or stage.reducer == MERGE:
            return None
        criterion = CRITERIA[stage.criterion]
        if criterion.order is not None and stage.heads == "mean":
            if stage.prefix_keys:
                return RowEntropy(criterion.order(alpha), num_prefix=0)
            return RowEntropy(criterion.order(alpha), self.num_prefix, stage.normalize)
        return whole_logits if criterion.reads in ("own_row", "column") else None

    def _score(
        self, stage: PruningStage, question: Score | RowEntropy | None, seen: Reading, alpha, draws
    ) -> tuple[Float[Array, "b m"], Float[Array, "b m"]]:
        """Importance of every patch, and the weights with which a reducer may fuse."""
        logits = seen.answer if question is whole_logits else seen.class_logits
        weights = cls_attention(logits, self.num_prefix)
        if isinstance(question, RowEntropy):
            scores = -seen.answer[:, :, self.num_prefix - question.num_prefix :].mean(axis=1)
        else:
            scores = score_patches(
                stage.criterion,
                logits,
                self.num_prefix,
                alpha=alpha,
                normalize=stage.normalize,
                heads=stage.heads,
                prefix_keys=stage.prefix_keys,
                draws=draws,
            )
        return -scores if stage.reverse else scores, weights

    def _prune(
        self, stage: PruningStage, tokens: Tokens, scores: Float[Array, "b m"], weights
    ) -> tuple[Tokens, PruningTrace]:
        """The tokens that go on. With every patch kept, they are the tokens that came."""
        values, positions, sizes = tokens
        if sizes is not None:
            scores = jnp.where(sizes[:, self.num_prefix :] > 0, scores, -jnp.inf)
        count = stage.count(scores.shape[1])
        if count == scores.shape[1] and stage.keep_mass == 1:
            return tokens, PruningTrace(scores, positions)

        if stage.keep_mass == 1:
            kept = per_shard(functools.partial(select, count=count), scores)
            is_needed = None
        else:
            choose = functools.partial(select_mass, count=count, keep_mass=stage.keep_mass)
            kept, is_needed = per_shard(choose, scores)

        reducer = REDUCERS[stage.reducer]
        values = reducer.reduce(values, kept, weights, self.num_prefix, is_needed)
        entered, positions = positions, jnp.take_along_axis(positions, kept, axis=1)
        if is_needed is not None:
            positions = jnp.where(is_needed, positions, MASKED)
        if reducer.extra_tokens:
            # An image of which nothing is left to fuse needs no such token either.
            left, came = (jnp.sum(each != MASKED, axis=1) for each in (positions, entered))
            fused = jnp.where(left < came, FUSED, MASKED)[:, None]
            positions = jnp.concatenate([positions, fused], axis=1)
        if is_needed is not None or sizes is not None:
            there = jnp.pad(positions != MASKED, ((0, 0), (self.num_prefix, 0)), constant_values=1)
            sizes = there.astype(jnp.float32)
        return Tokens(values, positions, sizes), PruningTrace(scores, positions)

    def _merge(
        self, stage: PruningStage, tokens: Tokens, keys: Float[Array, "b n d"]
    ) -> tuple[Tokens, PruningTrace]:
        """The tokens that go on, those with the most similar keys merged (ToMe)."""
        values, positions, sizes = tokens
        count = stage.count(positions.shape[1])
        matching = match(keys, self.num_prefix, count)
        if count < positions.shape[1]:
            sizes = jnp.ones(values.shape[:2]) if sizes is None else sizes
            values, sizes = merge(values, sizes, matching, self.num_prefix)
            positions = jnp.take_along_axis(positions, matching.left, axis=1)
        return Tokens(values, positions, sizes), PruningTrace(matching.scores, positions)
