"""Attention and the entropy of its rows, with no array of the size of the attention matrix.

The logits are never all there: they are computed by parts, and again by parts for the gradient,
which needs of a row only its maximum, its log-sum and its entropy. With `a = softmax(s)`, `o` the
output and `s` the logits, the cotangents that meet in a logit are

    ds_j = a_j (do . v_j - do . o + dlse) + dH (dH / ds_j),      lse = LSE(s),

where `dH / ds_j` is the closed form of `entropy.slope_in_logits`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from renyi_jax.attention import chunked, columns, pallas_gpu, xla_cpu
from renyi_jax.attention.evidence import ColumnSums, RowEntropy
from renyi_jax.attention.online_softmax import order_scalars
from renyi_jax.entropy import unnormalised_entropy


def attention(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    value: Float[Array, "b n h d"],
    num_prefix: int,
    entropy_of: RowEntropy | None,
) -> tuple[Float[Array, "b n h d"], Float32[Array, "b h m"] | None]:
    """As `plain.attention_and_entropy`, without an array of the size of the attention matrix."""
    first = 0 if entropy_of is None or entropy_of.prefix_keys else num_prefix
    attended, entropy, _ = _attention(query, key, value, first, entropy_of)
    return attended, None if entropy_of is None else entropy[:, :, num_prefix:]


def attention_and_columns(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    value: Float[Array, "b n h d"],
    num_prefix: int,
    entropy_of: RowEntropy | None,
    asked: Sequence[ColumnSums],
) -> tuple[Float[Array, "b n h d"], Float32[Array, "b h m"] | None, list[Float32[Array, "b h m"]]]:
    """As `backend.attention_and_columns`, on CPU; an entropy is over the keys of patches.

    The sums are a second pass, which knows the logsumexp of each row from the first.
    """
    attended, entropy, by_keys = _attention(query, key, value, num_prefix, entropy_of)
    entropy = None if entropy_of is None else entropy[:, :, num_prefix:]
    sums = []
    for each in asked:
        lse = by_keys[0 if each.normalize else 1][:, :, num_prefix:]
        weights = columns.row_weights(each, entropy, lse)
        sums.append(_second_pass(query, key, num_prefix, each, weights, lse))
    return attended, entropy, sums


def _second_pass(query, key, num_prefix, asked, weights, lse):
    def sums(query, key, weights, power, lse):
        of_power = asked._replace(power=power)
        return xla_cpu.column_sums(query, key, num_prefix, of_power, weights, lse)

    def whole(query, key, weights, power, lse):
        of_power = asked._replace(power=power)
        return columns.column_sums(query, key, num_prefix, of_power, weights)

    power = jnp.asarray(asked.power, jnp.float32)
    return columns.forward_by(sums, whole)(query, key, weights, power, lse)


def _attention(query, key, value, first, entropy_of):
    """Attention, the entropy of rows over the keys from `first` on, and their logsumexp and all's.

    The kernels see the keys that the entropy is over. The few others are added to their results:
    two softmaxes are joined by the share that each has of the sum.
    """
    query = query * query.shape[-1] ** -0.5
    query, key, value = (jnp.swapaxes(tokens, 1, 2) for tokens in (query, key, value))
    alpha = None if entropy_of is None else jnp.asarray(entropy_of.alpha, jnp.float32)
    attended, lse, entropy = stream(query, key[:, :, first:], value[:, :, first:], alpha)
    of_all = lse
    if first:
        logits = _product(query, jnp.swapaxes(key[:, :, :first], 2, 3))
        of_prefix = jax.nn.logsumexp(logits, axis=-1)
        log_odds = lse - of_prefix
        share = jax.nn.sigmoid(log_odds)[..., None]
        to_prefix = (1 - share) * jax.nn.softmax(logits, axis=-1)
        attended = share * attended + _product(to_prefix, value[:, :, :first])
        of_all = jnp.logaddexp(lse, of_prefix)
        if entropy_of is not None and not entropy_of.normalize:
            entropy = unnormalised_entropy(entropy, log_odds, entropy_of.alpha)
    return jnp.swapaxes(attended.astype(value.dtype), 1, 2), entropy, (lse, of_all)


def forward(*arguments: Any) -> Any:
    """Runs `chunked.forward`, or the kernel that stands in for it on a GPU."""
    return _by_platform(chunked.forward, pallas_gpu.forward, arguments)


def backward(*arguments: Any) -> Any:
    """Runs `chunked.backward`, or the kernel that stands in for it on a GPU."""
    return _by_platform(chunked.backward, pallas_gpu.backward, arguments)


def _by_platform(default, cuda, arguments):
    has_kernel = pallas_gpu.run_here() and is_counted(arguments[0])
    kernels = {"cuda": with_scalars(cuda)} if has_kernel else {}
    return jax.lax.platform_dependent(*arguments, default=default, **kernels)


def is_counted(query: Float[Array, "b *rest"]) -> bool:
    """Whether kernels can run: their grids count images, which an artifact leaves open."""
    return all(isinstance(size, int) for size in query.shape)


def with_scalars(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a kernel take alpha, or None, in the place of the scalars that it reads."""

    def run(*arguments: Any) -> Any:
        *arrays, alpha = arguments
        return kernel(*arrays) if alpha is None else kernel(*arrays, order_scalars(alpha))

    return run


@jax.custom_vjp
def stream(
    query: Float[Array, "b h n d"],
    key: Float[Array, "b h m d"],
    value: Float[Array, "b h m d"],
    alpha: Float[Array, ""] | None = None,
) -> tuple[Float[Array, "b h n d"], Float32[Array, "b h n"], Float32[Array, "b h n"]]:
    """Returns attention over all keys given, and `LSE(s)` and `H_alpha` (0 without alpha) per
    query."""
    operands = (query, key, value) if alpha is None else (query, key, value, alpha)

    def default(*operands):
        return _stream_forward(*operands)[0]

    return jax.lax.platform_dependent(*operands, cpu=xla_cpu.stream, default=default)


def _stream_forward(query, key, value, alpha=None):
    attended, rows = forward(query, key, value, alpha)
    entropy = jnp.zeros_like(rows.top) if alpha is None else rows.log_z + rows.spread
    if alpha is not None:
        entropy = jnp.where(alpha > 0, entropy, jnp.nan)  # a traced order cannot be refused
    outputs = attended, rows.top + rows.log_z, entropy
    return outputs, (query, key, value, alpha, attended, rows)


def _stream_backward(residuals, cotangents):
    query, key, value, alpha, attended, rows = residuals
    d_attended, d_lse, d_entropy = cotangents
    overlap = jnp.sum(d_attended.astype(jnp.float32) * attended.astype(jnp.float32), axis=-1)
    d_query, d_key, d_value = backward(
        query, key, value, rows, d_attended, overlap - d_lse, d_entropy, alpha
    )
    d_alpha = None
    if alpha is not None:
        d_alpha = chunked.order_cotangent(query, key, alpha, rows, d_entropy).astype(alpha.dtype)
    return d_query.astype(query.dtype), d_key, d_value, d_alpha


stream.defvjp(_stream_forward, _stream_backward)


def _product(left: Float[Array, "b h n k"], right: Float[Array, "b h k e"]):
    return jnp.matmul(left, right, preferred_element_type=jnp.float32)
