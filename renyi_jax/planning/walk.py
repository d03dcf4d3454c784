"""Runs many prunings of one model on one batch, and nothing twice.

Block by block, prunings go together until they differ, so the unpruned blocks before a first cut
run once for all. The blocks are of one shape, so one program serves them all: it is compiled once
for each number of tokens, and where a block prunes for each way to. Orders are run-time values.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from renyi_jax.models.forward import Forward, Images, Weights, weights_of
from renyi_jax.models.vit import VisionTransformer, run_block
from renyi_jax.pruning import PruningConfig, Stage, Tokens


class Walk:
    """A model, taken apart into its blocks.

    Args:
        model: its weights; its own pruning makes no difference.
    """

    def __init__(self, model: VisionTransformer):
        plain = model.with_pruning(None)
        self._forward, self._weights = Forward.of(plain), weights_of(plain)
        self._blocks = [nnx.split(block) for block in plain.blocks]
        self._patches = model.spec.num_patches

    def __call__(
        self,
        images: Images,
        prunings: Sequence[PruningConfig | None],
    ) -> list[Float[Array, "b outputs"]]:
        """Returns the outputs of the model under each pruning; None is none.

        Args:
            images: pixels, or floats that are normalised already.
            prunings: of the model's blocks.
        """
        outputs: list[Any] = [None] * len(prunings)
        ahead = [
            _Ahead(place, pruning.stages if pruning else ())
            for place, pruning in enumerate(prunings)
        ]
        self._go(_begin(self._forward, self._weights, images), 1, ahead, outputs)
        return outputs

    def _go(
        self, tokens: Tokens, number: int, ahead: Sequence["_Ahead"], outputs: list[Any]
    ) -> None:
        """Fills in the outputs of prunings that have gone the same way up to block `number`."""
        while ahead and number <= len(self._blocks):
            by_stage: dict[Stage, list[_Ahead]] = {}
            others = []
            for each in ahead:
                if each.stages and each.stages[0].block == number:
                    rest = each._replace(stages=each.stages[1:])
                    by_stage.setdefault(each.stages[0], []).append(rest)
                else:
                    others.append(each)
            for stage, alike in by_stage.items():
                self._go(self._run(number, tokens, stage), number + 1, alike, outputs)
            ahead = others
            if ahead:
                tokens = self._run(number, tokens, None)
            number += 1
        if ahead:
            output = _finish(self._forward, self._weights, tokens)
            for each in ahead:
                outputs[each.place] = output

    def _run(self, number: int, tokens: Tokens, stage: Stage | None) -> Tokens:
        graphdef, params = self._blocks[number - 1]
        if stage is None:
            return _block_program()(graphdef, params, tokens, None, None, None)
        order = jnp.asarray(stage.alpha, jnp.float32)
        draws = None
        if stage.needs().draws:
            shape = (tokens.values.shape[0], self._patches)
            draws = jax.random.uniform(jax.random.key(number), shape)
        # What is compiled does not depend on the block's number, nor on the order.
        stage = dataclasses.replace(stage, block=1, alpha=1.0)
        return _block_program()(graphdef, params, tokens, stage, order, draws)


class _Ahead(NamedTuple):
    """What a pruning, the `place`-th, has before it."""

    place: int
    stages: tuple[Stage, ...]


@functools.partial(jax.jit, static_argnums=0)
def _begin(forward: Forward, weights: Weights, images: Images) -> Tokens:
    return forward.model(weights).begin(forward.normalize(images))


@functools.partial(jax.jit, static_argnums=0)
def _finish(forward: Forward, weights: Weights, tokens: Tokens) -> Float[Array, "b o"]:
    return forward.model(weights).finish(tokens)


@functools.cache
def _block_program() -> Any:
    """The compiled `block_of`.

    On CPU its time goes into matrix products, which are compiled already: without optimising the
    rest, a block of ViT-S compiles in half of the time and runs as fast.
    """
    is_cpu = jax.default_backend() == "cpu"
    options: Any = {"xla_backend_optimization_level": 0} if is_cpu else None
    return jax.jit(block_of, static_argnums=(0, 3), compiler_options=options)


def block_of(
    graphdef: Any,
    params: Any,
    tokens: Tokens,
    stage: Stage | None,
    order: Float[Array, ""] | None,
    draws: Float[Array, "b patches"] | None,
) -> Tokens:
    """Returns the tokens that leave a block; `stage`, `order` and `draws` are None unpruned."""
    block = nnx.merge(graphdef, params)
    return run_block(stage, None, False, block, tokens, order, draws, None)[0]
