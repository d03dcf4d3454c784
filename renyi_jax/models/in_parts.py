"""Takes a batch through the model a few images at a time, where that is faster."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float

PART_TOKENS = 800
"""Tokens of a part: what a layer writes is then still in the cache when the next one reads it.

Parts also keep all cores busy: XLA on CPU runs one part's layer beside another's. docs/speed.md
has the measurement. Only the CPU is asked for parts: accelerators want whole batches.
"""

PARTS_AT_ONCE = 4
"""Parts that are compiled side by side. More would run no faster, and take longer to compile.

Images of more than `PART_TOKENS` tokens come one after another: one of them keeps all cores busy,
and several would hold so many times its memory.
"""

# From the images of a part, and the place of its first in the batch, to arrays whose first axis is
# that of the images.
Run = Callable[[Float[Array, "b height width 3"], Any], Any]


def in_parts(run: Run, images: Float[Array, "b height width 3"], tokens_per_image: int) -> Any:
    """`run(images, 0)`; on CPU, in a compiled function, the same put together from parts."""
    part = max(1, round(PART_TOKENS / tokens_per_image))
    batch = images.shape[0]
    is_one_device = jax.sharding.get_abstract_mesh().empty
    # An exported program may have a batch of any size.
    if isinstance(images, Tracer) and isinstance(batch, int) and batch > part and is_one_device:
        return jax.lax.platform_dependent(
            images,
            cpu=partial(
                _in_parts, run, part, 1 if tokens_per_image > PART_TOKENS else PARTS_AT_ONCE
            ),
            default=lambda images: run(images, 0),
        )
    return run(images, 0)


def _in_parts(run: Run, part: int, at_once: int, images):
    round_size = part * at_once
    rounds, rest = divmod(len(images), round_size)
    results = []
    if rounds > 1:
        looped = images[: rounds * round_size].reshape(rounds, round_size, *images.shape[1:])
        places = jnp.arange(rounds) * round_size
        outputs = jax.lax.map(lambda each: _side_by_side(run, part, *each), (looped, places))
        results.append(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs))
    elif rounds == 1:
        results.append(_side_by_side(run, part, images[:round_size], 0))
    if rest:
        results.append(_side_by_side(run, part, images[-rest:], rounds * round_size))
    return _joined(results)


def _side_by_side(run: Run, part: int, images, first):
    parts = jnp.array_split(images, -(-len(images) // part))
    places = itertools.accumulate(map(len, parts), initial=0)
    return _joined([run(each, first + place) for each, place in zip(parts, places)])


def _joined(results: list[Any]) -> Any:
    return jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *results)
