"""Runs a batch in microbatches of a few images, where that is faster."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

MICROBATCH_TOKENS = 800
"""Tokens of a part: what a layer writes is then still in the cache when the next one reads it.

Parts also keep all cores busy: XLA on CPU runs one part's layer beside another's. docs/speed.md
has the measurement. Only the CPU is asked for parts: accelerators want whole batches.
"""

MICROBATCHES_AT_ONCE = 4
"""Parts that are compiled side by side. More would run no faster, and take longer to compile.

Images of more than `MICROBATCH_TOKENS` tokens come one after another: one of them keeps all cores
busy, and several would hold so many times its memory.
"""

# From the arrays of a part to others; the first axis of all is that of the images.
Run = Callable[[Any], Any]


def in_microbatches(run: Run, arrays: Any, tokens_per_image: int) -> Any:
    """`run(arrays)`; on CPU, in a compiled function, the same put together from parts.

    Args:
        run: takes and gives pytrees of arrays whose first axis is that of the images.
    """
    part = max(1, round(MICROBATCH_TOKENS / tokens_per_image))
    images, *_ = jax.tree.leaves(arrays)
    batch = images.shape[0]
    is_one_device = jax.sharding.get_abstract_mesh().empty
    # An exported program may have a batch of any size.
    if isinstance(images, Tracer) and isinstance(batch, int) and batch > part and is_one_device:
        return jax.lax.platform_dependent(
            arrays,
            cpu=partial(
                _one_after_another,
                run,
                part,
                1 if tokens_per_image > MICROBATCH_TOKENS else MICROBATCHES_AT_ONCE,
            ),
            default=run,
        )
    return run(arrays)


def _one_after_another(run: Run, part: int, at_once: int, arrays):
    round_size = part * at_once
    rounds, rest = divmod(len(jax.tree.leaves(arrays)[0]), round_size)
    cut = rounds * round_size
    looped = jax.tree.map(lambda x: x[:cut], arrays)
    left = jax.tree.map(lambda x: x[cut:], arrays)
    results = []
    if rounds > 1:
        looped = jax.tree.map(lambda x: x.reshape(rounds, round_size, *x.shape[1:]), looped)
        outputs = jax.lax.map(partial(_side_by_side, run, part), looped)
        results.append(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs))
    elif rounds == 1:
        results.append(_side_by_side(run, part, looped))
    if rest:
        results.append(_side_by_side(run, part, left))
    return _joined(results)


def _side_by_side(run: Run, part: int, arrays):
    leaves, tree = jax.tree.flatten(arrays)
    count = -(-len(leaves[0]) // part)
    parts = zip(*(jnp.array_split(leaf, count) for leaf in leaves))
    return _joined([run(jax.tree.unflatten(tree, each)) for each in parts])


def _joined(results: list[Any]) -> Any:
    return jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *results)
