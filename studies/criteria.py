"""Criteria on trial: pure functions of the attention logits, as `renyi_jax.pruning.criteria` has.

They can be named once `CRITERIA.update(TRIALS)` was called.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from renyi_jax.entropy import attention_entropy, renyi_entropy
from renyi_jax.pruning.criteria import (
    Alpha,
    Criterion,
    Logits,
    Scores,
    cls_attention,
    received_attention,
    renyi,
)


def sharp_cls_attention(logits: Logits, num_prefix: int, *, alpha: Alpha) -> Scores:
    """Attention of the class token, a head counting by the entropy of what it pays to the patches.

    Head `h` has the weight `exp(-H_alpha(h))`, the inverse of the number of patches that it
    attends to: heads that look at everything say little about any patch.
    """
    attention = _class_row(logits, num_prefix)
    to_patches = attention / attention.sum(axis=-1, keepdims=True)
    weights = jnp.exp(-renyi_entropy(to_patches, alpha))
    return jnp.einsum("bh,bhm->bm", weights, attention)


def max_head_cls_attention(logits: Logits, num_prefix: int) -> Scores:
    """The most that any head of the class token pays to a patch."""
    return _class_row(logits, num_prefix).max(axis=1)


def log_cls_attention(logits: Logits, num_prefix: int) -> Scores:
    """The geometric mean over heads of the attention that the class token pays."""
    return jnp.log(_class_row(logits, num_prefix)).mean(axis=1)


def cls_times_entropy(logits: Logits, num_prefix: int, *, alpha: Alpha) -> Scores:
    """`log p_cls(j) - H_alpha(j)`: class attention divided by the patches that j attends to."""
    return jnp.log(cls_attention(logits, num_prefix)) + renyi(logits, num_prefix, alpha=alpha)


def cls_rank_entropy(logits: Logits, num_prefix: int, *, alpha: Alpha) -> Scores:
    """The sum of the ranks by class attention and by low entropy."""
    return _ranks(cls_attention(logits, num_prefix)) + _ranks(
        renyi(logits, num_prefix, alpha=alpha)
    )


def sharpest_received(logits: Logits, num_prefix: int, *, alpha: Alpha) -> Scores:
    """`sharp_received`, with votes of `exp(-2 H_alpha)`."""
    patches = jax.nn.softmax(logits[:, :, num_prefix:, num_prefix:], axis=-1)
    votes = jnp.exp(-2 * attention_entropy(logits, alpha, num_prefix))
    return jnp.einsum("bhi,bhij->bj", votes, patches)


def sharp_votes(logits: Logits, num_prefix: int, *, alpha: Alpha) -> Scores:
    """`sharp_received`, with the votes of the prefix tokens too."""
    to_patches = jax.nn.softmax(logits[..., num_prefix:], axis=-1)
    votes = jnp.exp(-renyi_entropy(to_patches, alpha))
    return jnp.einsum("bhi,bhij->bj", votes, to_patches)


def cls_two_steps(logits: Logits, num_prefix: int) -> Scores:
    """Attention of the class token after a second step: of the patches that it attends to."""
    attention = jax.nn.softmax(logits, axis=-1).mean(axis=1)
    first = attention[:, 0, num_prefix:]
    return first + jnp.einsum("bi,bij->bj", first, attention[:, num_prefix:, num_prefix:])


def cls_times_received(logits: Logits, num_prefix: int) -> Scores:
    """Class attention times the attention that the patches pay."""
    return cls_attention(logits, num_prefix) * received_attention(logits, num_prefix)


def _class_row(logits: Logits, num_prefix: int) -> Float[Array, "b h m"]:
    return jax.nn.softmax(logits[:, :, 0], axis=-1)[..., num_prefix:]


def _ranks(scores: Scores) -> Scores:
    return jnp.argsort(jnp.argsort(scores, axis=-1), axis=-1).astype(jnp.float32)


def _square(heads: int, _: int, patches: int) -> int:
    return heads * patches * patches


_ORDER = ("alpha",)
TRIALS: dict[str, Criterion] = {
    "sharp_cls_attention": Criterion(
        sharp_cls_attention, "class_row", _ORDER, lambda h, n, m: 3 * h * m
    ),
    "max_head_cls_attention": Criterion(
        max_head_cls_attention, "class_row", (), lambda h, n, m: h * m
    ),
    "log_cls_attention": Criterion(log_cls_attention, "class_row", (), lambda h, n, m: h * m),
    "cls_times_entropy": Criterion(
        cls_times_entropy, "column", _ORDER, lambda h, n, m: 2 * h * m * m + h * m
    ),
    "cls_rank_entropy": Criterion(
        cls_rank_entropy, "column", _ORDER, lambda h, n, m: 2 * h * m * m + h * m
    ),
    "sharpest_received": Criterion(
        sharpest_received, "column", _ORDER, lambda h, n, m: 3 * h * m * m
    ),
    "sharp_votes": Criterion(sharp_votes, "column", _ORDER, lambda h, n, m: 3 * h * n * m),
    "cls_two_steps": Criterion(cls_two_steps, "column", (), _square),
    "cls_times_received": Criterion(cls_times_received, "column", (), _square),
}
