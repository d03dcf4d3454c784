"""Rényi and Shannon entropy of attention: pure functions of arrays.

With `a = softmax(s)` over the patch keys, Rényi's entropy of order alpha is

    H_alpha = log(sum_j a_j^alpha) / (1 - alpha),

Shannon's at alpha = 1 and -log max_j a_j at alpha = inf. By the two-logsumexp identity it needs no
attention matrix, only two sums over the logits:

    H_alpha = (LSE(alpha s) - alpha LSE(s)) / (1 - alpha),       LSE = log sum_j exp.

Taken literally the identity cancels near alpha = 1 and on peaked rows. This file evaluates it in
a form whose terms are all of one sign, so that one formula keeps its digits for every order. Write
`t_j = s_j - max s <= 0`, `delta = alpha - 1`, and

    Z = sum_j exp(t_j),            D = sum_j (exp(t_j) - exp(alpha t_j)) / delta  >= 0,

so that `LSE(alpha t) = log(Z - delta D)`. Then

    H_alpha = log Z - log(1 - delta D / Z) / delta.

Both terms are non-negative. As delta -> 0, D is -sum_j t_j exp(t_j) and the second term D / Z:
Shannon's entropy, without an expansion. As alpha -> inf the second term vanishes. In the same
symbols, with `Z_alpha = Z - delta D` and `d_j` the terms of D,

    dH / ds_j = alpha (d_j - exp(t_j) D / Z) / Z_alpha,

which is alpha / (1 - alpha) (w_j - a_j) with `w = softmax(alpha s)`, and -a_j (log a_j + H_1) at
alpha = 1.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Float32

from renyi_jax.errors import UserError

# Orders this close to one, or this far from it, are Shannon's and the min-entropy to the last bit.
_SMALLEST_GAP = 1e-12
_LARGEST_GAP = 1e12

# The coefficients of (1 - exp(-x)) / x, highest power first; used for 0 <= x < 1/2.
_RISE_SERIES = tuple((-1.0) ** k / math.factorial(k + 1) for k in range(7, -1, -1))

# The coefficients of ((x - 1) exp(x) + 1) / x^2, highest power first; used for |x| < 1/2.
_KL_SERIES = np.array([(k + 1) / math.factorial(k + 2) for k in range(8, -1, -1)], np.float32)

# A subnormal float32 is a whole multiple, its bits, of the smallest one.
_SMALLEST_NORMAL_BITS = 1 << 23
_LOG_SMALLEST = -149 * math.log(2)

_FLOAT32_MIN = float(np.finfo(np.float32).min)


def renyi_entropy(
    probs: Float[ArrayLike, "..."], alpha: ArrayLike, axis: int = -1
) -> Float32[Array, "..."]:
    """Rényi entropy, in nats, of the distributions that lie along `axis` of `probs`.

    Args:
        probs: non-negative, sums to 1 along `axis` (the sum is divided out, so a rounded sum does
            no harm). Zeros count for nothing; they and subnormal numbers receive a gradient of
            zero.
        alpha: the order, one number in (0, inf]; may be traced. 1 is Shannon's entropy, inf the
            min-entropy.
        axis: where the distributions lie.

    Returns:
        float32 entropies between 0 and log N, of the shape of `probs` without `axis`. Where there
        is a negative entry -inf, and where one is not finite or all are 0, nan.

    Raises:
        UserError: if `alpha` is a known value outside (0, inf], or not one number.
    """
    return _entropy_of_probs(jnp.asarray(probs), _order(alpha), axis=axis)


def attention_entropy(
    logits: Float[ArrayLike, "*batch n m"],
    alpha: ArrayLike,
    num_prefix: int = 1,
    normalize: bool = True,
) -> Float32[Array, "*batch n-{num_prefix}"]:
    """Rényi entropy, in nats, of the attention that each patch pays to the patches.

    Equation: the two-logsumexp identity above; arXiv 2604.03803 defines the entropy.

    Args:
        logits: scaled attention logits, queries on axis -2, keys on axis -1, prefix tokens first
            on both. -inf masks a key; a patch whose patch keys are all masked has entropy 0.
        alpha: the order, one number in (0, inf]; may be traced. 1 is Shannon's entropy, inf the
            min-entropy.
        num_prefix: tokens before the patches (class token, distillation token, registers). They
            are left out as queries and as keys.
        normalize: whether the attention is renormalised over the patch keys, so that it is a
            distribution. If not, the softmax over all keys is taken as it is: the mass that went
            to the prefix tokens then enters the result, which diverges as `alpha` nears 1 (at 1
            itself it is -sum p log p). Kept for comparison.

    Returns:
        float32 entropies, one per patch; all arithmetic is float32, whatever the type of `logits`.

    Raises:
        UserError: if `alpha` is a known value outside (0, inf], or not one number, or if
            `num_prefix` leaves no patch.
    """
    logits = jnp.asarray(logits)
    if not 0 <= num_prefix < logits.shape[-1]:
        raise UserError(
            f"num_prefix must leave at least one patch of the {logits.shape[-1]} tokens: "
            f"expected 0 to {logits.shape[-1] - 1}, got {num_prefix}."
        )
    return _entropy_of_attention(logits, _order(alpha), num_prefix=num_prefix, normalize=normalize)


def known_orders(alpha: ArrayLike | Sequence[ArrayLike]) -> np.ndarray | Array:
    """Returns `alpha`, one order or several, in float32.

    A known value becomes a numpy array, an argument and not a constant of what is compiled.

    Raises UserError: it is known here and outside (0, inf].
    """
    if any(isinstance(each, Tracer) for each in jax.tree.leaves(alpha)):
        return jnp.asarray(alpha, jnp.float32)
    try:
        orders = np.asarray(alpha, np.float32)
    except (TypeError, ValueError):
        raise UserError(f"alpha must be a number, or several, got {alpha!r}.") from None
    if not (orders > 0).all():
        raise UserError(f"alpha, the order of the entropy, must lie in (0, inf], got {alpha}.")
    return orders


def _order(alpha: ArrayLike) -> np.ndarray | Array:
    """`known_orders` of one order."""
    order = known_orders(alpha)
    if order.ndim:
        raise UserError(f"alpha must be one number, got an array of shape {order.shape}.")
    return order


@partial(jax.jit, static_argnames="axis")
def _entropy_of_probs(probs, alpha, *, axis):
    probs = jnp.moveaxis(probs.astype(jnp.float32), axis, -1)
    entropy = _entropy(_log_of_probs(probs), alpha)
    # As scipy.stats.entropy has it: what is no distribution has no plausible entropy.
    is_one = jnp.isfinite(probs).all(axis=-1) & (probs != 0).any(axis=-1)
    entropy = jnp.where((probs < 0).any(axis=-1), -jnp.inf, entropy)
    return jnp.where(is_one, entropy, jnp.nan)


def _log_of_probs(probs: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    """log p; -inf for 0. XLA may take a subnormal number for 0: it is read from its bits."""
    is_normal = probs >= np.finfo(np.float32).tiny
    log_p = jnp.log(jnp.where(is_normal, probs, 1))
    bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(probs), jnp.int32)
    is_subnormal = (bits > 0) & (bits < _SMALLEST_NORMAL_BITS)
    multiple = jnp.where(is_subnormal, bits, 1).astype(jnp.float32)
    log_p = jnp.where(is_subnormal, jnp.log(multiple) + _LOG_SMALLEST, log_p)
    return jnp.where(is_normal | is_subnormal, log_p, -jnp.inf)


@partial(jax.jit, static_argnames=("num_prefix", "normalize"))
def _entropy_of_attention(logits, alpha, *, num_prefix, normalize):
    logits = logits.astype(jnp.float32)
    # A slice of the keys would be written out; to mask them costs no pass of its own.
    is_prefix = np.arange(logits.shape[-1]) < num_prefix
    entropy = _entropy(logits + np.where(is_prefix, -np.inf, 0).astype(np.float32), alpha)
    entropy = entropy[..., num_prefix:]
    if normalize or num_prefix == 0:
        return entropy
    rows = logits[..., num_prefix:, :]
    prefix, patches = rows[..., :num_prefix], rows[..., num_prefix:]
    log_odds = _finite_logsumexp(patches) - _finite_logsumexp(prefix)
    unnormalised = unnormalised_entropy(entropy, log_odds, alpha)
    return jnp.where(jnp.max(patches, axis=-1) == -jnp.inf, 0, unnormalised)


def unnormalised_entropy(
    entropy: Float[Array, "*rows"], log_odds: Float[Array, "*rows"], alpha: Float[ArrayLike, ""]
) -> Float[Array, "*rows"]:
    """What the formula of H_alpha gives on `p = q a`, which sums to q: `H - alpha / delta log q`.

    Args:
        entropy: `H_alpha(a)`.
        log_odds: `log(q / (1 - q))`, where q is the mass of the attention on the patches.
        alpha: the order; at 1 the result is `-sum p log p`.
    """
    log_q = -jax.nn.softplus(-log_odds)
    order = order_of(alpha)
    return jnp.where(
        jnp.asarray(alpha) == 1,
        jnp.exp(log_q) * (entropy - log_q),
        entropy - order.alpha / order.delta * log_q,
    )


def _finite_logsumexp(logits):
    """logsumexp over the last axis; finite, and with finite gradients, where all is masked."""
    return jax.nn.logsumexp(jnp.maximum(logits, _FLOAT32_MIN / 4), axis=-1)


class Order(NamedTuple):
    """The scalars by which an order enters the formulas."""

    alpha: Array  # kept finite
    low: Array  # min(alpha, 1)
    delta: Array  # alpha - 1, kept off 0
    gap: Array  # |delta|


def order_of(alpha: Float[ArrayLike, ""]) -> Order:
    """`alpha` in (0, inf] as the scalars of the formulas."""
    alpha = jnp.asarray(alpha)
    gap = jnp.clip(jnp.abs(alpha - 1), _SMALLEST_GAP, _LARGEST_GAP)
    delta = jnp.where(alpha < 1, -gap, gap)
    return Order(jnp.minimum(alpha, _LARGEST_GAP), jnp.minimum(alpha, 1), delta, gap)


def terms(t: Float[Array, "*rows"], order: Order) -> tuple[Array, Array, Array]:
    """`exp(t)`, `exp(alpha t)` and `d = (exp(t) - exp(alpha t)) / delta >= 0`, for `t <= 0`.

    Two exponentials make all three: one is the larger of the first two, and the smaller of them is
    it times `exp(gap t)`. So nothing overflows, and nothing cancels.
    """
    larger = jnp.exp(order.low * t)
    ratio = jnp.exp(order.gap * t)
    smaller = larger * ratio
    above = order.delta > 0
    z, powers = jnp.where(above, larger, smaller), jnp.where(above, smaller, larger)
    return z, powers, larger * rise(-t, ratio, order.gap)


def rise(
    x: Float[Array, "*rows"], ratio: Float[Array, "*rows"], gap: Float[Array, ""]
) -> Float[Array, "*rows"]:
    """`(1 - ratio) / gap` for `x >= 0` and `ratio = exp(-gap x)`; as gap -> 0 it is x."""
    y = gap * x
    series = jnp.full_like(y, _RISE_SERIES[0])
    for coefficient in _RISE_SERIES[1:]:
        series = series * y + coefficient
    return jnp.where(y < 0.5, x * series, (1 - ratio) * (1 / gap))


class RowSums(NamedTuple):
    """The terms and sums of the module's formula: terms [..., n], sums [..., 1]."""

    top: Array  # max s
    t: Array  # s - max s
    z: Array  # exp(t)
    d: Array  # (exp(t) - exp(alpha t)) / delta
    z_rest: Array  # Z - 1
    mean_d: Array  # D / Z
    spread: Array  # -log(1 - delta D / Z) / delta


def row_sums(s: Float[Array, "*batch n"], order: Order) -> RowSums:
    """The sums over the last axis.

    Without a comparison or a choice per logit, XLA on CPU runs each sum as one pass over `s`, all
    cores at work; with one, it writes arrays of the size of `s` in between. So the maxima, which Z
    leaves out by one because 1 + tiny would lose the digits of tiny, are told by arithmetic.
    """
    top = jnp.max(s, axis=-1, keepdims=True)
    t = s - jnp.where(top == -jnp.inf, 0, top)
    z = jnp.exp(t)
    # The larger of exp(t) and exp(alpha t) is taken out, so that nothing overflows.
    d = jnp.exp(order.low * t) * (jnp.expm1(order.gap * t) * (-1 / order.gap))
    is_below = jnp.minimum(t * -1e30, 1)  # no two float32 logits are nearer than 1e-30, but equal
    below = jnp.sum(z * is_below, axis=-1, keepdims=True)
    tops = jnp.sum(1 - is_below, axis=-1, keepdims=True)
    z_rest = below + jnp.maximum(tops - 1, 0)
    mean_d = jnp.sum(d, axis=-1, keepdims=True) / (1 + z_rest)
    return RowSums(top, t, z, d, z_rest, mean_d, spread(mean_d, order.delta))


def spread(mean_d: Float[Array, "*rows"], delta: Float[Array, ""]) -> Float[Array, "*rows"]:
    """`-log(1 - delta D / Z) / delta`, given `D / Z`: what the entropy has beyond log Z."""
    x = -delta * mean_d
    return mean_d * jnp.where(x == 0, 1, jnp.log1p(x) / jnp.where(x == 0, 1, x))


@jax.custom_jvp
def _entropy(s: Float[Array, "*batch n"], alpha: Float[Array, ""]) -> Float[Array, "*batch"]:
    """H_alpha of softmax(s) over the last axis."""
    return _total(row_sums(s, order_of(alpha)), alpha)


@partial(_entropy.defjvp, symbolic_zeros=True)
def _entropy_jvp(primals, tangents):
    (s, alpha), (ds, dalpha) = primals, tangents
    sums = row_sums(s, order_of(alpha))
    entropy = _total(sums, alpha)
    tangent = jnp.zeros_like(entropy)
    if not isinstance(ds, SymbolicZero):
        tangent += jnp.sum(_slope_in_logits(sums, alpha) * ds, axis=-1)
    if not isinstance(dalpha, SymbolicZero):
        log_a = sums.t - jnp.log1p(sums.z_rest)
        slope = slope_in_order(log_a, sums.t + sums.spread, order_of(alpha))
        tangent += jnp.sum(slope, axis=-1) * dalpha
    return entropy, tangent


def _total(sums: RowSums, alpha: Float[Array, ""]) -> Float[Array, "*batch"]:
    entropy = jnp.log1p(sums.z_rest) + sums.spread
    # A traced order cannot be refused; nan at least does not look like an entropy.
    return jnp.where(alpha > 0, entropy[..., 0], jnp.nan)


def _slope_in_logits(sums: RowSums, alpha: Float[Array, ""]) -> Float[Array, "*batch n"]:
    """dH / ds_j = alpha (d_j - z_j D / Z) / Z_alpha."""
    order = order_of(alpha)
    # Z_alpha is summed anew because Z - delta D loses digits beside a large Z.
    powers = jnp.sum(jnp.exp(order.alpha * sums.t), axis=-1, keepdims=True)
    Z_alpha = jnp.where(powers > 0, powers, 1)  # 0 where all keys are masked
    return order.alpha * (sums.d - sums.z * sums.mean_d) / Z_alpha


def slope_in_logits(
    log_a: Float[Array, "*rows"], c: Float[Array, "*rows"], order: Order
) -> tuple[Float[Array, "*rows"], Float[Array, "*rows"]]:
    """a_j, and `dH / ds_j = -alpha (w_j - a_j) / delta`, each from its own row's results.

    With `c_j = log a_j + H`, `w_j = a_j exp(delta c_j)`; so at alpha = 1 it is -a_j (log a_j + H).

    Args:
        log_a: log a_j.
        c: log a_j + H, summed so that it has its digits: `t_j` plus the spread.
    """
    x = order.delta * c
    larger = jnp.exp(log_a + jnp.maximum(x, 0))  # of a and w
    ratio = jnp.exp(-jnp.abs(x))
    a = jnp.where(x > 0, larger * ratio, larger)
    fall = larger * rise(jnp.abs(c), ratio, order.gap)
    return a, order.alpha * jnp.where(c > 0, -fall, fall)


def slope_in_order(
    log_a: Float[Array, "*rows"], c: Float[Array, "*rows"], order: Order
) -> Float[Array, "*rows"]:
    """The terms of `dH / dalpha = -KL(w || a) / delta^2`, which is -Var_a[log a] / 2 at alpha = 1.

    With `x_j = log(w_j / a_j)`, which is `delta c_j`, KL is the sum of `w_j (x_j - 1) + a_j`, each
    >= 0; for small x it is `a_j x_j^2 (1/2 + x_j/3 + ...)`.

    Args:
        log_a: log a_j.
        c: log a_j + H, as in `slope_in_logits`.
    """
    delta = order.delta
    c = jnp.maximum(c, -1e15)  # finite when squared, masked keys too
    x = delta * c
    small = jnp.abs(x) < 0.5
    series = jnp.polyval(_KL_SERIES, jnp.where(small, x, 0))
    a, w = jnp.exp(log_a), jnp.exp(log_a + x)
    return -jnp.where(small, a * c**2 * series, (w * (x - 1) + a) / delta**2)
