"""The peak of the machine: the best rate at which it multiplied matrices in this run."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

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
