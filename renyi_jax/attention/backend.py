"""Which implementation of attention runs: the one place where it is decided, and why."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from renyi_jax.attention import chunked, pallas_gpu, pallas_tpu, plain
from renyi_jax.attention.row_entropy import row_entropy
from renyi_jax.attention.running import order_scalars
from renyi_jax.entropy import attention_entropy

PLAIN_TOKENS = 640
"""With more tokens than this the attention matrix is not held.

On the CPU both take as long (docs/speed.md), so memory decides: the logits of an image of 384
pixels (577 tokens, 6 heads) are 8 MB, and training at the usual sizes keeps the attention rather
than compute it twice. For a TPU XLA counts the same memory and the same bytes moved at 197 tokens
(docs/speed.md); on no accelerator were times measured.
"""


def forward(*arguments):
    """`chunked.forward`, or what stands in for it on the platform that is compiled for."""
    return jax.lax.platform_dependent(
        *arguments,
        tpu=with_scalars(pallas_tpu.forward),
        cuda=with_scalars(pallas_gpu.forward),
        default=chunked.forward,
    )


def backward(*arguments):
    """`chunked.backward`, or what stands in for it on the platform that is compiled for."""
    return jax.lax.platform_dependent(
        *arguments,
        tpu=with_scalars(pallas_tpu.backward),
        cuda=with_scalars(pallas_gpu.backward),
        default=chunked.backward,
    )


def scored(query, key, value, alpha, num_prefix: int):
    """`plain.attention` and the entropy of the patches' rows, by the way that suits the platform.

    On CPU the entropy multiplies queries and keys once more, which takes less time than to have
    the logits written (docs/speed.md). Accelerators share them.
    """
    return jax.lax.platform_dependent(
        query,
        key,
        value,
        alpha,
        cpu=functools.partial(_scored_apart, num_prefix),
        default=functools.partial(_scored_together, num_prefix),
    )


def _scored_apart(num_prefix: int, query, key, value, alpha):
    attended, _ = plain.attention(query, key, value, lambda _: None)
    queries, keys = (jnp.swapaxes(tokens, 1, 2) for tokens in (query, key))
    queries = queries * queries.shape[-1] ** -0.5
    return attended, row_entropy(queries, keys[:, :, num_prefix:], alpha)[:, :, num_prefix:]


def _scored_together(num_prefix: int, query, key, value, alpha):
    def entropy_of(logits):
        return attention_entropy(logits, alpha, num_prefix)

    return plain.attention(query, key, value, entropy_of)


def with_scalars(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel that is called with alpha, or None, in the place of the scalars that it reads."""

    def run(*arguments):
        *arrays, alpha = arguments
        return kernel(*arrays) if alpha is None else kernel(*arrays, order_scalars(alpha))

    return run
