"""The keep rate's way from 1 down to its target, in a few levels that each compile once."""

import dataclasses
import math
from typing import Any, NamedTuple

from renyi_jax.pruning import PruningConfig


class Level(NamedTuple):
    """A pruning, and the number of steps done when it begins."""

    first_step: int
    pruning: PruningConfig | None


def keep_rate_levels(
    pruning: PruningConfig | None, options: Any, steps_per_epoch: int
) -> list[Level]:
    """Returns the levels of a run in order; a single level is the target from the start.

    EViT lowers the keep rate along half a cosine (Liang et al. 2022, arXiv 2202.07800, section 4),
    so that a network never misses many patches at once. Each level compiles a training step, so the
    curve is cut into `train.keep_rate_levels` of them, over `train.keep_rate_epochs`.
    """
    falls = options.keep_rate_levels - 1
    if pruning is None or not options.keep_rate_epochs or not falls:
        return [Level(0, pruning)]
    steps = options.keep_rate_epochs * steps_per_epoch
    return [
        Level(round(steps * number / falls), _eased(pruning, number / falls))
        for number in range(falls + 1)
    ]


def _eased(pruning: PruningConfig, progress: float) -> PruningConfig:
    """`pruning` with keep rates that have gone so much of their way from 1."""
    share = (1 - math.cos(math.pi * progress)) / 2
    rates = tuple(1 - share * (1 - rate) for rate in pruning.per_block("keep_rate"))
    return pruning if progress == 1 else dataclasses.replace(pruning, keep_rate=rates)
