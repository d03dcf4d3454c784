"""Which implementation of attention runs: the one place where it is decided, and why."""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from renyi_jax.attention import (
    columns,
    library,
    pallas_gpu,
    pallas_tpu,
    plain,
    streaming,
    xla_cpu,
)
from renyi_jax.attention.evidence import ColumnSums, RowEntropy

PLAIN_TOKENS = 640
"""With more tokens than this the attention matrix is not held.

On the CPU both took as long before streaming got its own program (docs/speed/tables.md), so memory
decided: the logits of an image of 384
pixels (577 tokens, 6 heads) are 8 MB, and training at the usual sizes keeps the attention rather
than compute it twice. TPUs hold no logits at any length, by which a training step moves 0.57 of the
bytes (docs/speed/tables.md), and neither does a GPU that is there: only the gradient in float32 of
197 tokens took longer so (docs/speed.md).
"""

_is_plain = contextvars.ContextVar("is_plain", default=False)


@contextlib.contextmanager
def plain_products() -> Iterator[None]:
    """Makes what is traced in the body leave no choice to XLA: for programs of other compilers."""
    token = _is_plain.set(True)
    try:
        yield
    finally:
        _is_plain.reset(token)


def attention(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    value: Float[Array, "b n h d"],
    num_prefix: int,
    entropy_of: RowEntropy | None,
) -> tuple[Float[Array, "b n h d"], Float32[Array, "b h m"] | None]:
    """Attention, and the entropy of the patches' rows per head if it is asked for."""
    if _is_plain.get():
        if entropy_of is None:
            return _held(query, key, value), None
        return plain.attention_and_entropy(query, key, value, num_prefix, entropy_of)
    long = query.shape[1] > PLAIN_TOKENS
    has_kernel = pallas_gpu.run_here() and streaming.is_counted(query)
    on_tpu = pallas_tpu.takes(query, num_prefix, entropy_of)
    if entropy_of is None:
        kernels = {"tpu": _tpu_kernel} if on_tpu else {}
        if has_kernel:
            kernels["cuda"] = library.attention if library.takes(query) else _streamed
        default = _streamed if long else _held
        return jax.lax.platform_dependent(query, key, value, default=default, **kernels), None

    def run(implementation):
        def with_alpha(query, key, value, alpha):
            asked = entropy_of._replace(alpha=alpha)
            return implementation(query, key, value, num_prefix, asked)

        return with_alpha

    streamed = run(streaming.attention)
    kernels = {"tpu": run(pallas_tpu.attention)} if on_tpu else {}
    if has_kernel:
        kernels["cuda"] = streamed
    if not long:
        # On CPU the sums of the entropy cost little within the program of attention, and written
        # logits a lot (docs/speed/tables.md).
        kernels["cpu"] = run(xla_cpu.attention)
    alpha = jnp.asarray(entropy_of.alpha, jnp.float32)
    default = streamed if long else run(plain.attention_and_entropy)
    return jax.lax.platform_dependent(query, key, value, alpha, default=default, **kernels)


def attention_and_columns(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    value: Float[Array, "b n h d"],
    num_prefix: int,
    entropy_of: RowEntropy | None,
    asked: Sequence[ColumnSums],
) -> tuple[Float[Array, "b n h d"], Float32[Array, "b h m"] | None, list[Float32[Array, "b h m"]]]:
    """`attention`, and the logarithms of the sums of its columns that are asked for."""

    def together(query, key, value, alpha, powers):
        entropy = None if entropy_of is None else entropy_of._replace(alpha=alpha)
        sums = [each._replace(power=power) for each, power in zip(asked, powers)]
        return streaming.attention_and_columns(query, key, value, num_prefix, entropy, sums)

    def apart(query, key, value, alpha, powers):
        of_rows = None if entropy_of is None else entropy_of._replace(alpha=alpha)
        attended, entropy = attention(query, key, value, num_prefix, of_rows)
        rows = jnp.swapaxes(query[:, num_prefix:, :, 0], 1, 2)
        sums = []
        for each, power in zip(asked, powers):
            weights, each = columns.row_weights(each, entropy, rows), each._replace(power=power)
            sums.append(column_sums(query, key, num_prefix, each, weights))
        return attended, entropy, sums

    alpha = None if entropy_of is None else jnp.asarray(entropy_of.alpha, jnp.float32)
    operands = query, key, value, alpha, [jnp.asarray(each.power, jnp.float32) for each in asked]
    # The entropy's pass is over other keys then than the sums are.
    is_other = entropy_of is not None and entropy_of.prefix_keys
    if not asked or is_other or _is_plain.get() or query.shape[1] <= PLAIN_TOKENS:
        return apart(*operands)
    return jax.lax.platform_dependent(*operands, default=apart, cpu=together)


def column_sums(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    num_prefix: int,
    asked: ColumnSums,
    weights: Float[Array, "b h m"],
) -> Float32[Array, "b h m"]:
    """As `columns.column_sums`, of tokens that all count alike."""

    def run(implementation):
        def with_power(query, key, weights, power):
            return implementation(query, key, num_prefix, asked._replace(power=power), weights)

        return with_power

    operands = query, key, weights, jnp.asarray(asked.power, jnp.float32)
    by_xla, kernels = run(columns.column_sums), {}
    if _is_plain.get():
        return by_xla(*operands)
    if pallas_tpu.takes(query, num_prefix, None):
        kernels["tpu"] = columns.forward_by(run(pallas_tpu.column_sums), by_xla)
    if pallas_gpu.run_here() and streaming.is_counted(query):
        kernels["cuda"] = columns.forward_by(run(pallas_gpu.column_sums), by_xla)
    return jax.lax.platform_dependent(*operands, default=by_xla, **kernels)


def _held(query, key, value):
    return plain.attention(query, key, value)[0]


def _tpu_kernel(query, key, value):
    return pallas_tpu.attention(query, key, value, 0, None)[0]


def _streamed(query, key, value):
    return streaming.attention(query, key, value, 0, None)[0]
