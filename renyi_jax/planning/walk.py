"""Runs many prunings of one model on one batch, and nothing twice.

Block by block, prunings go together until they differ, so the unpruned blocks before a first cut
run once for all. The blocks are of one shape, so the same programs serve them all: one for what
attends, one for what transforms each token, and where a block prunes a small one between them, for
each number of tokens that enters and leaves. Orders are run-time values.
"""

import concurrent.futures
import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from renyi_jax.attention import Evidence, Needs
from renyi_jax.models import Forward, VisionTransformer, weights_of
from renyi_jax.models.block import prune
from renyi_jax.models.forward import Images, Weights
from renyi_jax.models.vit import run_block
from renyi_jax.pruning import PruningConfig, Stage, Tokens


class Run(NamedTuple):
    """One block, run once for all prunings that have gone the same way up to it.

    Attributes:
        number: of the block, from 1.
        stage: by which it prunes; None for not at all.
        source: the run whose tokens enter it; -1 for the embedded images.
        attend: the program of the first half of the block.
        prune: that of the stage; None without one.
        transform: that of the second half.
    """

    number: int
    stage: Stage | None
    source: int
    attend: "Program"
    prune: "Program | None"
    transform: "Program"

    @property
    def programs(self) -> list["Program"]:
        """All of them."""
        return [each for each in (self.attend, self.prune, self.transform) if each is not None]


class Route(NamedTuple):
    """The runs of several prunings, each after its source, and the run that ends each pruning."""

    runs: list[Run]
    ends: list[int]


class Walk:
    """A model, taken apart into its blocks.

    Args:
        model: its weights; its own pruning makes no difference.
        batch_size: images at a time.
    """

    def __init__(self, model: VisionTransformer, batch_size: int):
        plain = model.with_pruning(None)
        self._forward, self._weights = Forward.of(plain), weights_of(plain)
        self._graphs, self._params = zip(*(nnx.split(block) for block in plain.blocks))
        self._patches = model.spec.num_patches
        images = jax.ShapeDtypeStruct((batch_size, *model.spec.image_size, 3), jnp.uint8)
        self._begun = _begin.eval_shape(self._forward, self._weights, images)

    def route(self, prunings: Sequence[PruningConfig | None]) -> Route:
        """Returns what is to be run for these prunings of the model's blocks; None is none."""
        route = Route([], [-1] * len(prunings))
        ahead = [(place, each.stages if each else ()) for place, each in enumerate(prunings)]
        self._add(route, -1, self._begun, 1, ahead)
        return route

    def compile(self, route: Route) -> int:
        """Compiles what the route needs and is not compiled, several at once; returns how many."""
        programs = (program for run in route.runs for program in run.programs)
        new = {id(each): each for each in programs if each.call is None}
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(Program.compile, new.values()))
        return len(new)

    def __call__(self, images: Images, route: Route) -> list[Float[Array, "b outputs"]]:
        """Returns the outputs of the model under each pruning of a route that is compiled.

        Args:
            images: pixels of a batch.
            route: of the prunings.
        """
        last = {run.source: place for place, run in enumerate(route.runs)}
        tokens = {-1: _begin(self._forward, self._weights, images)}
        outputs: dict[int, Any] = {}
        for place, run in enumerate(route.runs):
            tokens[place] = self._run(run, tokens[run.source])
            if last[run.source] == place:
                del tokens[run.source]
            if place not in last:
                outputs[place] = _finish(self._forward, self._weights, tokens.pop(place))
        return [outputs[end] for end in route.ends]

    def _add(
        self,
        route: Route,
        source: int,
        tokens: Tokens,
        number: int,
        ahead: Sequence[tuple[int, tuple[Stage, ...]]],
    ) -> None:
        """Adds the runs of prunings that have gone the same way up to block `number`."""
        while ahead and number <= len(self._params):
            by_stage: dict[Stage, list[tuple[int, tuple[Stage, ...]]]] = {}
            others = []
            for place, stages in ahead:
                if stages and stages[0].block == number:
                    by_stage.setdefault(stages[0], []).append((place, stages[1:]))
                else:
                    others.append((place, stages))
            for stage, alike in by_stage.items():
                run = self._run_of(number, stage, source, tokens)
                route.runs.append(run)
                self._add(route, len(route.runs) - 1, run.transform.leaving, number + 1, alike)
            ahead = others
            if ahead:
                route.runs.append(self._run_of(number, None, source, tokens))
                source, tokens = len(route.runs) - 1, route.runs[-1].transform.leaving
            number += 1
        for place, _ in ahead:
            route.ends[place] = source

    def _run_of(self, number: int, stage: Stage | None, source: int, tokens: Tokens) -> Run:
        params = self._params[number - 1]
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
        leaves, tree = jax.tree.flatten(shapes)
        block = self._graphs[number - 1], tree, tuple(leaves)
        # What is compiled does not depend on the block's number, nor on the order; and what a stage
        # asks of the attention not on how many patches it keeps.
        like = stage and dataclasses.replace(stage, block=1, alpha=1.0)
        asking = like and dataclasses.replace(like, keep_rate=0.5, r=None)
        attend = _attending(block, tokens, asking)
        prune, left = None, attend.leaving[0]
        if like is not None:
            prune = _pruning(like, *attend.leaving, self._patches)
            left = prune.leaving
        return Run(number, stage, source, attend, prune, _transforming(block, left))

    def _run(self, run: Run, tokens: Tokens) -> Tokens:
        params, order, draws = self._params[run.number - 1], None, None
        if run.stage is not None:
            order = jnp.asarray(run.stage.alpha, jnp.float32)
            if run.stage.needs().draws:
                shape = (tokens.values.shape[0], self._patches)
                draws = jax.random.uniform(jax.random.key(run.number), shape)
        tokens, evidence = run.attend.call(params, tokens, order)
        if run.prune is not None:
            tokens = run.prune.call(tokens, evidence, order, draws)
        return run.transform.call(params, tokens)


class Program:
    """A part of a block, for tokens of one shape.

    Attributes:
        leaving: the shapes of what it returns.
        call: of its arguments but the static ones; None until it is compiled.
    """

    def __init__(self, part: Any, *arguments: Any):
        self._part, self._arguments = part, arguments
        self.leaving = part.eval_shape(*arguments)
        self.call: Any = None

    def compile(self) -> None:
        """Makes `call`."""
        self.call = self._part.lower(*self._arguments).compile()


_Shapes = tuple[Any, Any, tuple[Any, ...]]  # of a block: its graph, and the tree of its weights

_ORDER = jax.ShapeDtypeStruct((), jnp.float32)


# The programs are the same for every model of one spec.
@functools.cache
def _attending(block: _Shapes, tokens: Tokens, stage: Stage | None) -> Program:
    graph, tree, leaves = block
    return Program(_attend, graph, tree.unflatten(leaves), tokens, stage, stage and _ORDER)


@functools.cache
def _pruning(stage: Stage, tokens: Tokens, evidence: tuple[Any, ...], patches: int) -> Program:
    shape = jax.ShapeDtypeStruct((tokens.values.shape[0], patches), jnp.float32)
    return Program(_prune, stage, tokens, evidence, _ORDER, shape if stage.needs().draws else None)


@functools.cache
def _transforming(block: _Shapes, tokens: Tokens) -> Program:
    graph, tree, leaves = block
    return Program(_transform, graph, tree.unflatten(leaves), tokens)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _attend(
    graph: Any, params: Any, tokens: Tokens, stage: Stage | None, order: Float[Array, ""] | None
) -> tuple[Tokens, tuple[Any, ...]]:
    """The tokens, and the evidence without the number of prefix tokens, which is no array."""
    needs = Needs() if stage is None or order is None else stage.at(order).needs()
    tokens, evidence = nnx.merge(graph, params).attend(tokens, needs, train=False, rngs=None)
    return tokens, evidence[1:]


@functools.partial(jax.jit, static_argnums=0)
def _prune(
    stage: Stage,
    tokens: Tokens,
    evidence: tuple[Any, ...],
    order: Float[Array, ""],
    draws: Float[Array, "b patches"] | None,
) -> Tokens:
    return prune(stage.at(order), draws, tokens, Evidence(tokens.num_prefix, *evidence))[0]


@functools.partial(jax.jit, static_argnums=0)
def _transform(graph: Any, params: Any, tokens: Tokens) -> Tokens:
    return nnx.merge(graph, params).transform(tokens, train=False, rngs=None)


@functools.partial(jax.jit, static_argnums=0)
def _begin(forward: Forward, weights: Weights, images: Images) -> Tokens:
    return forward.model(weights).begin(forward.normalize(images))


@functools.partial(jax.jit, static_argnums=0)
def _finish(forward: Forward, weights: Weights, tokens: Tokens) -> Float[Array, "b o"]:
    return forward.model(weights).finish(tokens)


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
