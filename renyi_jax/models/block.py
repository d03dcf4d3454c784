"""The pruned block: where the method happens."""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from renyi_jax.attention import RowEntropy, Score, attention, attention_logits, whole_logits
from renyi_jax.models.layers import Linear, Mlp, QkvLinear, layer_norm, layer_scale
from renyi_jax.models.spec import ModelSpec
from renyi_jax.parallel import BATCH_AXES, constrain
from renyi_jax.pruning import (
    CRITERIA,
    REDUCERS,
    PruningStage,
    cls_attention,
    keep_count,
    score_patches,
    select,
)

FUSED = -1
"""The position of a fused token, which has no place in the patch grid."""


class Tokens(NamedTuple):
    """Tokens on their way through the blocks, and where in the patch grid they came from."""

    values: Float[Array, "b n d"]
    positions: Int[Array, "b m"]


class PruningTrace(NamedTuple):
    """What one pruned block decided.

    Attributes:
        scores: importance of the patches that entered the block.
        kept: those that left it, as positions in the original patch grid, ascending; a token that
            the reducer fused comes last, as `FUSED`.
    """

    scores: Float[Array, "b m"]
    kept: Int[Array, "b k"]


class Attention(nnx.Module):
    """Multi-head self-attention, read on the way."""

    def __init__(self, spec: ModelSpec, dropout_rate: float, dtype, rngs: nnx.Rngs):
        self.qkv = QkvLinear(spec.embed_dim, spec.num_heads, dtype, rngs)
        self.proj = Linear(spec.embed_dim, spec.embed_dim, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate)

    def __call__(
        self,
        values: Float[Array, "b n d"],
        question: Score | RowEntropy | None,
        *,
        train: bool,
        rngs: nnx.Rngs | None,
    ):
        """The branch; what `question` reads; and the logits of the class token, `[b, h, 1, n]`."""
        qkv = self.qkv(values)
        query, key, value = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        attended, answer = attention(query, key, value, question)
        branch = self.proj(attended.reshape(values.shape))
        branch = self.dropout(branch, deterministic=not train, rngs=rngs)
        return branch, answer, attention_logits(query[:, :1], key)


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
        key: PRNGKeyArray | None,
        read: Score | None,
        *,
        train: bool,
        rngs: nnx.Rngs | None,
    ) -> tuple[Tokens, PruningTrace | None, Any]:
        values, positions = tokens
        question = self._question(stage, alpha, read)
        drop_path = functools.partial(self.drop_path, deterministic=not train, rngs=rngs)

        branch, answer, class_logits = self.attn(
            self.norm1(values), question, train=train, rngs=rngs
        )
        reading = None if read is None else read(answer)
        values = values + drop_path(branch if self.ls1 is None else self.ls1(branch))

        trace = None
        if stage is not None:
            logits = answer if question is whole_logits else class_logits
            if isinstance(question, RowEntropy):
                scores = -answer.mean(axis=1)
            else:
                scores = self._score(stage, alpha, key, logits)
            weights = cls_attention(logits, self.num_prefix)
            values, positions = self._prune(stage, Tokens(values, positions), scores, weights)
            trace = PruningTrace(scores, positions)

        branch = self.mlp(self.norm2(values), train=train, rngs=rngs)
        values = values + drop_path(branch if self.ls2 is None else self.ls2(branch))
        return Tokens(constrain(values, BATCH_AXES, None, None), positions), trace, reading

    def _question(self, stage: PruningStage | None, alpha, read: Score | None):
        """What is asked of the attention: as little as the criterion can do with."""
        if read is not None:
            return whole_logits
        if stage is None:
            return None
        criterion = CRITERIA[stage.criterion]
        if criterion.order is not None and stage.heads == "mean":
            return RowEntropy(criterion.order(alpha), self.num_prefix, stage.normalize)
        return whole_logits if criterion.reads in ("own_row", "column") else None

    def _score(self, stage: PruningStage, alpha, key, logits: Float[Array, "b h q n"]):
        """Importance of every patch; of a criterion that reads no more, `q` is the class token."""
        return score_patches(
            stage.criterion,
            logits,
            self.num_prefix,
            alpha=alpha,
            normalize=stage.normalize,
            heads=stage.heads,
            key=key,
        )

    def _prune(self, stage: PruningStage, tokens: Tokens, scores, weights) -> Tokens:
        """The tokens that go on. With every patch kept, they are the tokens that came."""
        num_patches = scores.shape[1]
        count = keep_count(num_patches, stage.keep_rate)
        if count == num_patches:
            return tokens
        kept = select(scores, count)
        reducer = REDUCERS[stage.reducer]
        values = reducer.reduce(tokens.values, kept, weights, self.num_prefix)
        positions = jnp.take_along_axis(tokens.positions, kept, axis=1)
        fused = ((0, 0), (0, reducer.extra_tokens))
        return Tokens(values, jnp.pad(positions, fused, constant_values=FUSED))
