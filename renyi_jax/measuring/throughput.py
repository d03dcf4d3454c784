"""Timing: of compiled programs against each other and the peak of the machine, and of a start."""

import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from renyi_jax.models import VisionTransformer, save_weights

Name = TypeVar("Name")


def seconds_per_call(calls: Mapping[Name, Callable[[], Any]], **options: Any) -> dict[Name, float]:
    """The median of `times_per_call` of each call, in seconds."""
    times = times_per_call(calls, **options)
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


def times_per_call(
    calls: Mapping[Name, Callable[[], Any]],
    *,
    budget: float = 1.0,
    min_rounds: int = 3,
    max_rounds: int = 30,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, list[float]]:
    """Times every turn of each call until its result is ready, in seconds.

    The calls, which have run before, take turns, so that a busy machine slows all alike. No round
    but the first `min_rounds` begins after `budget * len(calls)` seconds.
    """
    times: dict[Name, list[float]] = {name: [] for name in calls}
    begin = clock()
    for round_number in range(max_rounds):
        if round_number >= min_rounds and clock() - begin > budget * len(calls):
            break
        for name, call in calls.items():
            start = clock()
            jax.block_until_ready(call())
            times[name].append(clock() - start)
    return times


_LARGEST_SIDE, _SMALLEST_SIDE = 8192, 1024
_LONG_ENOUGH = 0.02
"""Seconds of a product that a larger one is unlikely to outdo: starting it costs nothing then."""


class Product(NamedTuple):
    """A matrix of (rows, inner) times one of (inner, columns)."""

    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> float:
        return 2.0 * self.rows * self.inner * self.columns


def product_calls(own: Product, dtype: Any) -> dict[Product, Callable[[], Any]]:
    """Compiles the products that are timed: squares, and `own`, the largest of the model.

    Squares grow until one takes long enough to hide its start. All have run once.
    """
    calls = {own: _call(own, dtype)}
    side = _SMALLEST_SIDE
    while side <= _LARGEST_SIDE:
        square = Product(side, side, side)
        calls[square] = _call(square, dtype)
        start = time.perf_counter()
        jax.block_until_ready(calls[square]())
        if time.perf_counter() - start > _LONG_ENOUGH:
            break
        side *= 2
    return calls


def peak_rate(times: Mapping[Product, Sequence[float]]) -> float:
    """Returns the highest FLOP/s of any turn of any product, from their seconds."""
    return max(product.flops / min(seconds) for product, seconds in times.items())


def _call(product: Product, dtype: Any) -> Callable[[], Any]:
    left = jnp.ones((product.rows, product.inner), dtype)
    right = jnp.ones((product.inner, product.columns), dtype)
    call = functools.partial(jax.jit(jnp.matmul), left, right)
    jax.block_until_ready(call())
    return call


def seconds_to_first_result(model: VisionTransformer, name: str, image_size: tuple[int, int]):
    """Times `python -m renyi_jax.predict` from start to end, without and with the compilation
    cache."""
    with tempfile.TemporaryDirectory() as folder:
        weights, picture = Path(folder, "weights.safetensors"), Path(folder, "picture.png")
        save_weights(model, weights)
        pixels = np.random.default_rng(0).integers(0, 256, (*image_size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(picture)
        command = [sys.executable, "-m", "renyi_jax.predict", f"--model={name}"]
        command += [f"--weights={weights}", f"--image={picture}"]
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(Path(folder, "cache"))}

        def run() -> float:
            start = time.perf_counter()
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
            return time.perf_counter() - start

        return {"first": run(), "cached": run()}
