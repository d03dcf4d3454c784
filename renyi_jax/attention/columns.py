"""What patches receive: sums of the columns of the attention, without an array of its size.

A pass of its own beside attention: the logits are multiplied once more, some queries at a time,
and each row is normalised where it lies. For the gradient they are multiplied again. Kernels add
their rows by the same functions.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from renyi_jax.attention import plain
from renyi_jax.attention.chunked import scan_chunks
from renyi_jax.attention.evidence import ColumnSums

LOWEST = -1e30  # below the logarithm of any attention, and finite: differences of two are no nan


def column_sums(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    num_prefix: int,
    asked: ColumnSums,
    weights: Float[Array, "b h m"],
) -> Float32[Array, "b h m"]:
    """Returns `log sum_i w_i a_ij^power` over the rows i of patches, for each patch j and head.

    Args:
        query: unscaled queries.
        asked: power and normalisation; heads are not averaged here.
        weights: `w`, at least 0.
    """

    @jax.checkpoint
    def add(sums, chunk):
        query, weights = chunk
        logits = plain.attention_logits(jnp.swapaxes(query, 1, 2), key)
        log_a = _log_attention(logits, num_prefix, asked)
        return add_rows(sums, log_a, weights[..., None], asked.power, jax.lax.stop_gradient), ()

    queries = jnp.swapaxes(query[:, num_prefix:], 1, 2)
    sums = scan_chunks(add, _no_rows(weights), (queries, weights))[0]
    return logarithm(sums, asked.power)[:, :, 0]


def of_logits(
    logits: Float32[Array, "b h n n"],
    num_prefix: int,
    asked: ColumnSums,
    weights: Float[Array, "b heads m"],
) -> Float32[Array, "b heads m"]:
    """Returns `column_sums` of logits that are held, or of the mean of their attention."""
    log_a = _log_attention(logits[:, :, num_prefix:], num_prefix, asked)
    if asked.heads == "average_first":
        log_a = jax.nn.logsumexp(log_a, axis=1, keepdims=True) - jnp.log(logits.shape[1])
    start, hold = _no_rows(weights), jax.lax.stop_gradient
    sums = add_rows(start, log_a, weights[..., None], asked.power, hold)
    return logarithm(sums, asked.power)[:, :, 0]


def row_weights(
    asked: ColumnSums,
    entropy: Float32[Array, "b h m"] | None,
    like: Float[Array, "b h m"],
) -> Float32[Array, "b h m"]:
    """What each row counts in the sums: `exp(-H)` where sharp rows shall count more, or one."""
    if not asked.sharp:
        return jnp.ones_like(like, jnp.float32)
    assert entropy is not None  # asked for beside
    return jnp.exp(-entropy)


Sums = tuple[Float32[Array, "*batch one m"], Float32[Array, "*batch one m"]]
"""Of the columns so far: the largest `log a_ij`, and the sum of `w_i a_ij^power` over its power."""


def add_rows(
    sums: Sums,
    log_a: Float32[Array, "*batch rows m"],
    weights: Float32[Array, "*batch rows 1"],
    power: float | Float[Array, ""],
    hold: Callable[[Float32[Array, "*shape"]], Float32[Array, "*shape"]] = lambda top: top,
) -> Sums:
    """Adds some rows, which may be those of a kernel; `hold` may keep a gradient from the top."""
    top, total = sums
    # A row that weighs nothing, as what fills the last chunk up, is no top.
    counted = jnp.where(weights > 0, log_a, LOWEST)
    new = hold(jnp.maximum(top, jnp.max(counted, axis=-2, keepdims=True)))
    # A fused program may round the two sides differently, which a power of 1e12 would blow up.
    below = log_a - new
    below = jnp.where(below > 0, 0, below)
    terms = weights * jnp.exp(power * below)
    return new, total * jnp.exp(power * (top - new)) + jnp.sum(terms, axis=-2, keepdims=True)


def logarithm(sums: Sums, power: float | Float[Array, ""]) -> Float32[Array, "*batch one m"]:
    """The logarithm of the sums of the columns, once all rows are in."""
    top, total = sums
    return power * top + jnp.log(jnp.maximum(total, jnp.finfo(jnp.float32).tiny))


def normalised(
    logits: Float32[Array, "*batch rows m"], counted: Float32[Array, "*batch rows k"]
) -> Float32[Array, "*batch rows m"]:
    """Logits less the logarithm of the sum of the exponentials of those that are counted."""
    top = jnp.max(counted, axis=-1, keepdims=True)
    return logits - top - jnp.log(jnp.sum(jnp.exp(counted - top), axis=-1, keepdims=True))


def forward_by(kernel: Callable[..., Array], whole: Callable[..., Array]) -> Callable[..., Array]:
    """`whole`, where a kernel that has no gradient computes it first; for the gradient it runs."""
    run = jax.custom_vjp(kernel)
    run.defvjp(
        lambda *operands: (kernel(*operands), operands),
        lambda operands, cotangent: jax.vjp(whole, *operands)[1](cotangent),
    )
    return run


def _no_rows(weights: Float[Array, "b h m"]) -> Sums:
    shape = *weights.shape[:2], 1, weights.shape[2]
    return jnp.full(shape, LOWEST, jnp.float32), jnp.zeros(shape, jnp.float32)


def _log_attention(logits: Float32[Array, "b h c n"], num_prefix: int, asked: ColumnSums):
    patches = logits[..., num_prefix:]
    rows = patches if asked.normalize else logits
    return patches - jax.nn.logsumexp(rows, axis=-1, keepdims=True)
