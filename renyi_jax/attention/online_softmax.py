"""Online softmax and entropy: the sums that a row of logits carries along as it comes in parts.

A part is folded in by its own maximum. With `c <= 0` the fall from the new maximum to the old, each
old sum moves to the new maximum without a loss, for all terms are non-negative:

    Z -> exp(c) Z,      Z_alpha -> exp(alpha c) Z_alpha,      D -> exp(c) D + d(c) Z_alpha,

where `d(t) = (exp(t) - exp(alpha t)) / delta` is the function of `entropy.terms`.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from renyi_jax.entropy import Order, order_of, spread, terms

MASKED = -1e30
"""The logit of a key that is only padding: finite, so that differences of two are no nan."""


class RunningSums(NamedTuple):
    """The sums of the keys so far, per query."""

    top: Float[Array, "*rows"]  # max s
    rest: Float[Array, "*rows"]  # Z - 1, where Z = sum exp(s - top)
    powers: Float[Array, "*rows"]  # Z_alpha = sum exp(alpha (s - top))
    d: Float[Array, "*rows"]  # D


class RowStatistics(NamedTuple):
    """What the output, the entropy and every gradient need of a row, in float32."""

    top: Float[Array, "*rows"]  # max s
    log_z: Float[Array, "*rows"]  # LSE(s) - top
    spread: Float[Array, "*rows"]  # H_alpha - log_z; 0 where no order is given


def no_keys(shape: tuple[int, ...]) -> RunningSums:
    """The sums before the first part."""
    zeros = jnp.zeros(shape, jnp.float32)
    return RunningSums(zeros + MASKED, zeros - 1, zeros, zeros)


def fold(
    running: RunningSums, logits: Float[Array, "*part"], order: Order | None, axis: int
) -> tuple[RunningSums, Float[Array, "*part"], Float[Array, "*rows"]]:
    """Adds one more part of the keys, which lie along `axis` (-1 or -2), to the sums.

    Returns:
        The new sums, the part's `exp(s - top)`, and the factor `exp(c)` by which old sums shrink.
    """
    top = jnp.maximum(running.top, jnp.max(logits, axis=axis, keepdims=True))
    t, c = logits - top, running.top - top
    if order is None:
        z, shrink = jnp.exp(t), jnp.exp(c)
        powers, d = running.powers, running.d
    else:
        z, z_powers, z_d = terms(t, order)
        shrink, shrink_powers, shrink_d = terms(c, order)
        d = shrink * running.d + shrink_d * running.powers + _sum(z_d, axis)
        powers = shrink_powers * running.powers + _sum(z_powers, axis)
    # Z - 1 leaves one maximum out of the sum: 1 + tiny would lose the digits of tiny.
    is_top = t == 0
    tops = _sum(is_top.astype(jnp.float32), axis)
    below = _sum(jnp.where(is_top, 0, z), axis)
    rest = jnp.where(c == 0, running.rest + tops, tops - 1 + shrink * (1 + running.rest)) + below
    return RunningSums(top, rest, powers, d), z, shrink


def statistics(running: RunningSums, order: Order | None) -> RowStatistics:
    """The results, once all keys are in."""
    log_z = jnp.log1p(running.rest)
    if order is None:
        return RowStatistics(running.top, log_z, jnp.zeros_like(log_z))
    mean_d = running.d / (1 + running.rest)
    return RowStatistics(running.top, log_z, spread(mean_d, order.delta))


def order_scalars(alpha: Float[Array, ""]) -> Float[Array, "4"]:
    """`order_of(alpha)` as one array, an operand of a kernel."""
    return jnp.stack(order_of(alpha)).astype(jnp.float32)


def order_from(scalars: Any) -> Order:
    """The `Order` of `order_scalars`, read from a kernel's operand."""
    return Order(*(scalars[i] for i in range(len(Order._fields))))


def _sum(values: Float[Array, "*part"], axis: int) -> Float[Array, "*rows"]:
    return jnp.sum(values, axis=axis, keepdims=True)
