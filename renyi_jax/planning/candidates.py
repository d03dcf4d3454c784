"""The prunings that a search tries: drawn at random, and changed a little."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from renyi_jax.errors import UserError
from renyi_jax.models.spec import ModelSpec
from renyi_jax.models.vit import check_blocks
from renyi_jax.planning.cost import Budget, solve
from renyi_jax.pruning import CRITERIA, PruningConfig, Stage
from renyi_jax.pruning.config import BLOCKS
from renyi_jax.pruning.reducers import REDUCERS

ALPHAS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, float("inf"))
PLACES = 4
"""At which a candidate that is drawn prunes, at the most; each is a block or a run of blocks."""

LEVELS = 16
"""Of the counts that blocks before the last keep: few, so that candidates share programs."""

LAST_LEVELS = 64
"""Of the counts that the last keeps: more, to spend the budget."""

Method = dict[str, Any]
"""The options that say how one block chooses and what becomes of the rest."""


class Space(NamedTuple):
    """What a search may choose from.

    Attributes:
        criteria: names in `CRITERIA`.
        alphas: orders, where a criterion takes one.
        reducers: names in `REDUCERS`.
        keep_masses: adaptive keep counts; 1 is fixed ones.
        blocks: that may be pruned, counted from 1; empty for all.
        most_blocks: pruned at the most; 0 for any number.
    """

    criteria: tuple[str, ...] = ()
    alphas: tuple[float, ...] = ALPHAS
    reducers: tuple[str, ...] = tuple(REDUCERS)
    keep_masses: tuple[float, ...] = (1.0,)
    blocks: tuple[int, ...] = ()
    most_blocks: int = 0


EVERYTHING = Space()


class Candidate(NamedTuple):
    """A pruning, and what the solver made it of.

    Attributes:
        pruning: spends the budget.
        shape: how strongly each of its blocks prunes beside the others.
    """

    pruning: PruningConfig
    shape: tuple[float, ...]


def default_criteria() -> tuple[str, ...]:
    """Returns the criteria that differ: none that draws, and none that is an order of another."""
    general = {row.score for row in CRITERIA.values() if "alpha" in row.options}
    return tuple(
        name
        for name, row in CRITERIA.items()
        if "draws" not in row.needs and ("alpha" in row.options or row.score not in general)
    )


def methods(spec: ModelSpec, space: Space) -> list[Method]:
    """Returns the pairs of a criterion and a reducer that the model can run.

    Raises:
        UserError: there is none.
    """
    criteria = space.criteria or default_criteria()
    blocks = sorted(set(space.blocks)) or (1,)
    found, refused = [], []
    for reducer in space.reducers:
        own = REDUCERS[reducer].own_criterion
        for criterion in (own,) if own else criteria:
            method: Method = {"criterion": criterion, "reducer": reducer}
            try:
                check_blocks(PruningConfig(blocks=blocks, **method), spec)
                found.append(method)
            except UserError as error:
                refused.append(str(error).removeprefix("PruningConfig: "))
    if not found:
        raise UserError("Nothing is left to search: " + " ".join(dict.fromkeys(refused)))
    return found


def may_choose(spec: ModelSpec, space: Space, pruning: PruningConfig) -> bool:
    """Whether a pruning lies in the space; its orders and keep rates may be any."""
    blocks = space.blocks or range(1, spec.depth + 1)
    known = methods(spec, space)
    return len(pruning.stages) <= (space.most_blocks or spec.depth) and all(
        each.block in blocks and {"criterion": each.criterion, "reducer": each.reducer} in known
        for each in pruning.stages
    )


def baselines(spec: ModelSpec, budget: Budget) -> dict[str, PruningConfig]:
    """Returns the published methods that the model can run, at the budget, by their names.

    They keep an equal share in every block that they prune. One that cannot spend the budget, as
    ToMe's, which leaves at least half in a block, is left out.
    """
    blocks = tuple(dict.fromkeys(max(1, round(each * spec.depth / 12)) for each in BLOCKS))
    named = {"reference": PruningConfig(blocks=blocks)}
    for name, row in CRITERIA.items():
        if row.published:
            named[row.published] = PruningConfig(criterion=name, blocks=blocks)
    for name, row in REDUCERS.items():
        if row.published:
            everywhere = tuple(range(1, spec.depth + 1))
            named[row.published] = PruningConfig(reducer=name, blocks=everywhere)
    found = {}
    for name, pruning in named.items():
        solved = solve(pruning, (1.0,) * len(pruning.stages), budget, spec)
        if solved is not None and _runs(solved, spec):
            found[name] = solved
    return found


class Drawer:
    """Draws candidates that spend one budget.

    Args:
        spec: of the model.
        space: to choose from.
        budget: to spend.
        seed: decides what is drawn.

    Raises:
        UserError: the model can run nothing of the space.
    """

    def __init__(self, spec: ModelSpec, space: Space, budget: Budget, seed: int):
        self._spec, self._space, self._budget = spec, space, budget
        self._methods: dict[str, list[Method]] = {}
        for method in methods(spec, space):
            self._methods.setdefault(method["reducer"], []).append(method)
        self._blocks = sorted(set(space.blocks)) or list(range(1, spec.depth + 1))
        self._most = min(space.most_blocks or spec.depth, len(self._blocks))
        self._rng = np.random.default_rng(seed)

    def draw(self) -> Candidate | None:
        """Returns any candidate; None where what was drawn cannot spend the budget.

        It prunes at one to four places. A third of these are runs of blocks, which share the
        strength of one. Half of the candidates prune equally strongly at all places, and a third by
        one method.
        """
        rng = self._rng
        count = int(rng.integers(1, min(PLACES, self._most) + 1))
        starts = np.sort(rng.choice(len(self._blocks), count, replace=False)).tolist()
        is_equal, is_alike = rng.random() < 1 / 2, rng.random() < 1 / 3
        blocks, drawn, shape = [], [], []
        for start, end in zip(starts, [*starts[1:], len(self._blocks)]):
            longest = min(end - start, self._most - len(blocks))
            length = int(rng.integers(1, longest + 1)) if rng.random() < 1 / 3 else 1
            method = drawn[0] if is_alike and drawn else self._method()
            strength = 1.0 if is_equal else float(rng.exponential()) + 0.1
            blocks += self._blocks[start : start + length]
            drawn += [method] * length
            shape += [strength / length] * length
            if len(blocks) == self._most:
                break
        return self._solved(blocks, drawn, shape)

    def neighbour(self, near: Candidate) -> Candidate | None:
        """Returns a candidate that differs from another in one respect; None where it cannot.

        A block moves, goes or comes, or it, or with it a run of blocks of its method, has another
        method or order, or prunes more strongly or less beside the others.
        """
        rng = self._rng
        blocks = list(near.pruning.blocks)
        drawn = [_method_of(stage) for stage in near.pruning.stages]
        shape = list(near.shape)
        place = int(rng.integers(len(blocks)))
        run = _alike(drawn, place, rng) if rng.random() < 1 / 2 else [place]
        free = sorted(set(self._blocks) - set(blocks), key=lambda each: abs(each - blocks[place]))
        change = rng.choice(("move", "method", "order", "strength", "add", "remove"))
        if change == "move" and free:
            blocks[place] = free[int(rng.integers(min(3, len(free))))]
        elif change == "method":
            method = self._method()
            drawn = [method if n in run else each for n, each in enumerate(drawn)]
        elif change == "order":
            alpha = {"alpha": float(rng.choice(self._space.alphas))}
            drawn = [each | alpha if n in run else each for n, each in enumerate(drawn)]
        elif change == "strength":
            factor = float(np.exp(rng.normal()))
            shape = [each * factor if n in run else each for n, each in enumerate(shape)]
        elif change == "add" and free and len(blocks) < self._most:
            blocks.append(int(rng.choice(free)))
            drawn.append(self._method() if rng.random() < 1 / 2 else drawn[place])
            shape.append(shape[place])
        elif change == "remove" and len(blocks) > 1:
            del blocks[place], drawn[place], shape[place]
        order = np.argsort(blocks).tolist()
        blocks, drawn, shape = ([each[n] for n in order] for each in (blocks, drawn, shape))
        return self._solved(blocks, drawn, shape)

    def like(self, other: Candidate) -> Candidate | None:
        """Returns the same blocks and methods at this budget; None where they cannot spend it."""
        drawn = [_method_of(stage) for stage in other.pruning.stages]
        return self._solved(other.pruning.blocks, drawn, other.shape)

    def _method(self) -> Method:
        """Any reducer, each as often, and then any criterion that goes with it."""
        several = self._methods[self._rng.choice(list(self._methods))]
        method = several[int(self._rng.integers(len(several)))]
        alpha = float(self._rng.choice(self._space.alphas))
        return method | {
            "alpha": alpha,
            "keep_mass": float(self._rng.choice(self._space.keep_masses)),
        }

    def _solved(
        self, blocks: Sequence[int], drawn: Sequence[Method], shape: Sequence[float]
    ) -> Candidate | None:
        options = {name: tuple(method[name] for method in drawn) for name in drawn[0]}
        try:
            pruning = PruningConfig(blocks=blocks, **options)
        except UserError:  # as of adaptive counts by what is no entropy
            return None
        # Of an order that makes no difference there is one value, so that equals are equal.
        alphas = [each.alpha if each.matters("alpha") else 1.0 for each in pruning.stages]
        pruning = pruning.changed(alpha=tuple(alphas))
        steps = (max(1, self._spec.num_patches // levels) for levels in (LEVELS, LAST_LEVELS))
        solved = solve(pruning, shape, self._budget, self._spec, *steps)
        if solved is None:
            return None
        strengths = dict(zip(blocks, shape))
        return Candidate(solved, tuple(strengths[block] for block in solved.blocks))


def _method_of(stage: Stage) -> Method:
    return {name: getattr(stage, name) for name in ("criterion", "reducer", "alpha", "keep_mass")}


def _alike(drawn: Sequence[Method], place: int, rng: np.random.Generator) -> range:
    """The places of one method next to `place`: those up to it, or those from it on."""
    first = last = place
    while first > 0 and drawn[first - 1] == drawn[place]:
        first -= 1
    while last + 1 < len(drawn) and drawn[last + 1] == drawn[place]:
        last += 1
    return range(first, place + 1) if rng.random() < 1 / 2 else range(place, last + 1)


def _runs(pruning: PruningConfig, spec: ModelSpec) -> bool:
    try:
        check_blocks(pruning, spec)
    except UserError:
        return False
    return True
