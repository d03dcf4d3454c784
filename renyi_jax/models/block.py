"""The pruned block: where the method happens."""

import functools
from typing import Any, NamedTuple

from flax import nnx
from jaxtyping import Array, Float

from renyi_jax.attention import Evidence, Needs, attend
from renyi_jax.models.layers import Linear, QkvLinear, layer_norm, layer_scale, mlp
from renyi_jax.models.spec import ModelSpec
from renyi_jax.parallel import BATCH_AXES, constrain
from renyi_jax.pruning import PruningTrace, Stage, Tokens


class Attention(nnx.Module):
    """Multi-head self-attention, and evidence of it."""

    def __init__(self, spec: ModelSpec, dropout_rate: float, dtype, rngs: nnx.Rngs):
        self.rotary, self.grid_size = spec.rotary, spec.grid_size
        self.class_token = spec.class_token
        self.qkv = QkvLinear(spec, dtype, rngs)
        self.proj = Linear(spec.embed_dim, spec.embed_dim, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate)

    def __call__(
        self, values: Float[Array, "b n d"], tokens: Tokens, needs: Needs, **mode: Any
    ) -> tuple[Float[Array, "b n d"], Evidence]:
        query, key, value = self.qkv(values)
        if self.rotary is not None:
            turn = functools.partial(
                self.rotary.turn, positions=tokens.positions, grid_size=self.grid_size
            )
            query, key = turn(query), turn(key)
        attended, evidence = attend(
            query, key, value, tokens.num_prefix, needs, tokens.sizes, self.class_token
        )
        return self.dropout(self.proj(attended.reshape(values.shape)), **mode), evidence


class Step(NamedTuple):
    """What a block is to do with its tokens beside attention and MLP."""

    stage: Stage | None  # how to prune, with the order of this run; None for not at all
    draws: Float[Array, "b patches"] | None  # uniform numbers for criteria that draw
    needs: Needs  # what else is asked of the attention


class Block(nnx.Module):
    """Attention, pruning, MLP: the method of arXiv 2604.03803, top to bottom."""

    def __init__(
        self, spec: ModelSpec, drop_path_rate: float, dropout_rate: float, dtype, rngs: nnx.Rngs
    ):
        self.norm1 = layer_norm(spec, dtype, rngs)
        self.attn = Attention(spec, dropout_rate, dtype, rngs)
        self.ls1 = layer_scale(spec.embed_dim, spec.layer_scale)
        self.norm2 = layer_norm(spec, dtype, rngs)
        self.mlp = mlp(spec, dropout_rate, dtype, rngs)
        self.ls2 = layer_scale(spec.embed_dim, spec.layer_scale)
        # Stochastic depth: one draw per image decides the whole residual branch.
        self.drop_path = nnx.Dropout(drop_path_rate, broadcast_dims=(1, 2))

    def __call__(
        self, tokens: Tokens, step: Step, *, train: bool, rngs: nnx.Rngs | None
    ) -> tuple[Tokens, PruningTrace | None, Evidence]:
        """Runs the block; also returns what pruning decided, and the evidence it was decided by."""
        stage, needs = step.stage, step.needs
        if stage is not None:
            needs = needs.union(stage.needs())
        tokens, evidence = self.attend(tokens, needs, train=train, rngs=rngs)
        trace = None
        if stage is not None:
            tokens, trace = prune(stage, step.draws, tokens, evidence)
        return self.transform(tokens, train=train, rngs=rngs), trace, evidence

    def attend(
        self, tokens: Tokens, needs: Needs, *, train: bool, rngs: nnx.Rngs | None
    ) -> tuple[Tokens, Evidence]:
        """Runs the first half, in which tokens exchange; also returns what is asked of it."""
        mode = {"deterministic": not train, "rngs": rngs}
        branch, evidence = self.attn(self.norm1(tokens.values), tokens, needs, **mode)
        branch = branch if self.ls1 is None else self.ls1(branch)
        return tokens.plus(self.drop_path(branch, **mode)), evidence

    def transform(self, tokens: Tokens, *, train: bool, rngs: nnx.Rngs | None) -> Tokens:
        """Runs the second half, in which each token changes by itself."""
        branch = self.mlp(self.norm2(tokens.values), train=train, rngs=rngs)
        branch = branch if self.ls2 is None else self.ls2(branch)
        tokens = tokens.plus(self.drop_path(branch, deterministic=not train, rngs=rngs))
        return tokens._replace(values=constrain(tokens.values, BATCH_AXES, None, None))


def prune(
    stage: Stage, draws: Float[Array, "b patches"] | None, tokens: Tokens, evidence: Evidence
) -> tuple[Tokens, PruningTrace]:
    """Scores the patches by the evidence, and reduces them; also returns what was decided."""
    if draws is not None:
        evidence = evidence._replace(draws=draws[:, : tokens.positions.shape[1]])
    plan = stage.plan(stage.score(evidence, tokens), evidence, tokens)
    reduced = stage.apply(tokens, plan)
    return reduced, PruningTrace(plan.scores, reduced.positions)
