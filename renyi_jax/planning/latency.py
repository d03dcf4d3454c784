"""Budgets of time: what a batch takes under a pruning, told by the times of single blocks.

A block is timed at some numbers of tokens, and pruned by each method at two. What it takes at other
numbers is read off the parabolas through these, and the sum over the blocks is scaled to the time
of the unpruned model. So a criterion that takes long to score leaves fewer patches to pay for.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from renyi_jax.common.progress import phase, progress
from renyi_jax.errors import UserError
from renyi_jax.measuring.throughput import times_per_call
from renyi_jax.models import VisionTransformer
from renyi_jax.models.forward import Forward, weights_of
from renyi_jax.planning.candidates import Method
from renyi_jax.planning.cost import Budget, Cost, Stages, checked
from renyi_jax.planning.walk import block_of
from renyi_jax.pruning import PruningConfig, Stage, Tokens

SHARES = (1.0, 0.75, 0.5, 0.25, 0.1)  # of the patches, at which an unpruned block is timed

MAX_SPREAD = 0.25
"""Of the times of one program: half of them lie so close to their median, or no budget holds."""

_SECONDS = 0.3

Times = Mapping[Any, Sequence[float]]


def latency_budget(
    model: VisionTransformer, methods: Sequence[Method], batch_size: int, seconds: float
) -> Budget:
    """Returns the budget of `seconds` for a batch on this device.

    Args:
        model: its weights.
        methods: of which candidates are made.
        batch_size: images.
        seconds: that a batch may take.

    Raises UserError: no pruning is so fast, the unpruned model is faster, or the same program takes
    such different times that none can be told.
    """
    cost = seconds_of(model, methods, batch_size)
    budget = Budget(seconds, cost, f"{1e3 * seconds:g} ms for a batch of {batch_size}")
    return checked(
        *(budget, model.spec, f"latency_ms={1e3 * seconds:g}"),
        expected=f"milliseconds for a batch of {batch_size}",
        whole=1e3 * cost(()),
    )


def seconds_of(model: VisionTransformer, methods: Sequence[Method], batch_size: int) -> Cost:
    """Returns the cost of a batch in seconds, as it is timed now; errors as `latency_budget`."""
    calls = _calls(model, methods, batch_size)
    for call in progress(calls.values(), "Compiling blocks", unit="program"):
        jax.block_until_ready(call())
    with phase("Timing blocks", _SECONDS * len(calls)):
        times = times_per_call(calls, budget=_SECONDS)
    _check_spread(times)
    return _cost(times, methods, model.spec.depth, model.spec.num_patches)


def _calls(
    model: VisionTransformer, methods: Sequence[Method], batch_size: int
) -> dict[Any, Callable[[], Any]]:
    """What is timed: the whole model, and blocks by their method, or None, and their patches."""
    plain = model.with_pruning(None)
    forward, weights = Forward.of(plain), weights_of(plain)
    images = jnp.zeros((batch_size, *model.spec.image_size, 3), jnp.uint8)
    run = jax.jit(forward)
    calls: dict[Any, Callable[[], Any]] = {"whole": lambda: run(weights, images)}
    tokens = plain.begin(forward.normalize(images))
    graphdef, params = nnx.split(plain.blocks[0])
    block = jax.jit(block_of, static_argnums=(0, 3))
    order = jnp.float32(2)
    for patches in _counts(model.spec.num_patches, SHARES):
        calls[None, patches] = functools.partial(
            block, graphdef, params, _first(tokens, patches), None, None, None
        )
    for place, method in enumerate(methods):
        stage = _stage(method)
        for patches in _counts(model.spec.num_patches, SHARES[:3:2]):
            draws = jnp.zeros((batch_size, patches)) if stage.needs().draws else None
            calls[place, patches] = functools.partial(
                block, graphdef, params, _first(tokens, patches), stage, order, draws
            )
    return calls


def _cost(times: Times, methods: Sequence[Method], depth: int, num_patches: int) -> Cost:
    medians = {name: float(np.median(seconds)) for name, seconds in times.items()}
    counts = _counts(num_patches, SHARES)
    curve = np.polyfit(counts, [medians[None, count] for count in counts], 2)

    def plain(patches: int) -> float:
        return float(np.polyval(curve, patches))

    extras = {}
    for place, method in enumerate(methods):
        stage, points = _stage(method), _counts(num_patches, SHARES[:3:2])
        more = [
            medians[place, count] - (plain(count) + plain(stage.left(count))) / 2
            for count in points
        ]
        # No more than nothing is saved by choosing; the cost grows like the square.
        extras[_key(stage)] = max(0.0, *(each / count**2 for each, count in zip(more, points)))
    scale = medians["whole"] / (depth * plain(num_patches))

    def cost(stages: Stages) -> float:
        pruned = {stage.block: stage for stage in stages}
        patches, total = num_patches, 0.0
        for number in range(1, depth + 1):
            stage = pruned.get(number)
            if stage is None or stage.keeps_all(patches):
                total += plain(patches)
                continue
            left = stage.left(patches)
            # Attention sees the patches that enter, and the MLP those that leave.
            total += (plain(patches) + plain(left)) / 2
            total += extras.get(_key(stage), 0.0) * patches**2
            patches = left
        return scale * total

    return cost


def _check_spread(times: Times) -> None:
    """Raises `UserError` where the quartiles of some program lie too far apart."""
    seconds = np.asarray(times["whole"])
    low, middle, high = np.quantile(seconds, (0.25, 0.5, 0.75))
    spread = float((high - low) / middle)
    if spread > MAX_SPREAD:
        raise UserError(
            f"This machine is too busy, or its clock too noisy, for a budget of time: half of"
            f" {len(seconds)} runs of the unpruned model took from {1e3 * low:.3g} to"
            f" {1e3 * high:.3g} ms, a spread of {spread:.0%}; expected at most {MAX_SPREAD:.0%}."
            " Budgets of multiply-adds (--budget, --gmacs) need no clock."
        )


def _counts(num_patches: int, shares: Sequence[float]) -> list[int]:
    return sorted({max(2, round(share * num_patches)) for share in shares}, reverse=True)


def _stage(method: Method) -> Stage:
    (stage,) = PruningConfig(blocks=(1,), keep_rate=0.5, **method).stages
    return stage


def _key(stage: Stage) -> tuple[str, str]:
    return str(stage.criterion), stage.reducer


def _first(tokens: Tokens, patches: int) -> Tokens:
    """The prefix tokens and the first patches."""
    return Tokens(tokens.values[:, : tokens.num_prefix + patches], tokens.positions[:, :patches])
