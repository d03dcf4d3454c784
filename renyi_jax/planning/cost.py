"""What a pruning costs, and prunings that cost a given amount."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from renyi_jax.errors import UserError
from renyi_jax.models.flops import count_stages
from renyi_jax.models.spec import ModelSpec
from renyi_jax.pruning import PruningConfig, Stage
from renyi_jax.pruning.keep import keep_rate_of

Stages = tuple[Stage, ...]

Cost = Callable[[Stages], float]
"""What one image costs in 10^9 multiply-adds, or a batch in seconds; () is the unpruned model."""

_BISECTIONS = 30


class Budget(NamedTuple):
    """What a plan may cost."""

    limit: float  # the most, in the unit of `cost`
    cost: Cost  # of the pruned blocks
    words: str  # the budget as a person reads it, such as "0.5 of the multiply-adds"


def gmacs_of(spec: ModelSpec) -> Cost:
    """Returns the cost in 10^9 multiply-adds, with those of scoring and reducing."""
    return lambda stages: count_stages(spec, stages) / 1e9


def share_budget(spec: ModelSpec, share: float) -> Budget:
    """Returns the budget of a share of the unpruned multiply-adds; errors as `checked`."""
    cost = gmacs_of(spec)
    budget = Budget(share * cost(()), cost, f"{share:g} of the multiply-adds")
    return checked(budget, spec, f"budget={share:g}", "a share of the unpruned multiply-adds", 1.0)


def gmacs_budget(spec: ModelSpec, limit: float) -> Budget:
    """Returns the budget of `limit` 10^9 multiply-adds of an image; errors as `checked`."""
    cost = gmacs_of(spec)
    budget = Budget(limit, cost, f"{limit:g} GMACs")
    return checked(budget, spec, f"gmacs={limit:g}", "10^9 multiply-adds of an image", cost(()))


def checked(budget: Budget, spec: ModelSpec, option: str, expected: str, whole: float) -> Budget:
    """Returns the budget.

    Args:
        budget: to check.
        spec: the model's shape.
        option: with its value, as the user gave it.
        expected: what the option takes, in words.
        whole: what the unpruned model costs, in the unit of the option.

    Raises UserError: it is less than one patch costs, or more than the unpruned model.
    """
    one_patch = PruningConfig(blocks=(1,), keep_rate=keep_rate_of(spec.num_patches, 1))
    least, most = budget.cost(one_patch.stages), budget.cost(())
    if not least <= budget.limit <= most:
        raise UserError(
            f"{option}: expected {expected}, from {whole * least / most:.3g}, where block 1 leaves"
            f" one patch, to {whole:.3g}, the unpruned model."
        )
    return budget


def solve(
    pruning: PruningConfig,
    shape: Sequence[float],
    budget: Budget,
    spec: ModelSpec,
    step: int = 1,
    last_step: int = 1,
) -> PruningConfig | None:
    """Returns the pruning with keep rates that spend the budget; None where none can.

    Block `i` keeps the share `exp(-t * shape[i])` of its patches, and `t` is the smallest that the
    budget allows. After that, the last block keeps as many as can be paid for: it costs no more
    than the budget, and with one more step it would. Blocks that would prune nothing are left out.

    Args:
        pruning: its blocks and methods; its keep rates make no difference.
        shape: how strongly each block prunes beside the others, each positive.
        budget: to spend.
        spec: the model's shape.
        step: the blocks before the last keep a multiple of it, so that candidates share shapes.
        last_step: likewise of the last, where it keeps more.
    """

    def at(strength: float, last: int | None = None) -> Stages:
        shares = [math.exp(-strength * each) for each in shape]
        return _with_shares(pruning.stages, shares, spec.num_patches, step, last)

    def fits(stages: Stages) -> bool:
        return budget.cost(stages) <= budget.limit

    weak, strong = 0.0, math.log(spec.num_patches) / min(shape)
    for _ in range(_BISECTIONS):
        middle = (weak + strong) / 2
        weak, strong = (weak, middle) if fits(at(middle)) else (middle, strong)
    few, many = 0, spec.num_patches
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if fits(at(strong, middle)) else (few, middle)
    stages = at(strong, few // last_step * last_step or max(1, few))
    entering = _entering(stages, spec.num_patches)
    busy = [not stage.keeps_all(patches) for stage, patches in zip(stages, entering)]
    if not all(busy) and any(busy):
        fewer = tuple(each for each, is_busy in zip(pruning.stages, busy) if is_busy)
        some = [each for each, is_busy in zip(shape, busy) if is_busy]
        return solve(PruningConfig(stages=fewer), some, budget, spec, step, last_step)
    if not any(busy) or not fits(stages):
        return None
    try:
        return PruningConfig(stages=stages)
    except UserError:  # of a reducer that cannot leave so few
        return None


def _with_shares(
    stages: Stages, shares: Sequence[float], patches: int, step: int, last: int | None
) -> Stages:
    """The pruned blocks with so many patches left."""
    changed = []
    for stage, share in zip(stages, shares):
        count = math.ceil(share * patches - 1e-9)
        if stage is stages[-1]:
            count = count if last is None else last
        elif step > 1:
            count = step * max(1, round(share * patches / step))
        rate = keep_rate_of(patches, min(max(1, count), patches))
        changed.append(dataclasses.replace(stage, keep_rate=rate, r=None))
        patches = changed[-1].left(patches)
    return tuple(changed)


def _entering(stages: Stages, patches: int) -> Iterator[int]:
    """How many patches enter each pruned block."""
    for stage in stages:
        yield patches
        patches = stage.left(patches)
