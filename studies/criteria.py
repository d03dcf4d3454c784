"""Criteria on trial: functions of `Evidence`, as `renyi_jax.pruning.criteria` has.

A row of `TRIALS` can stand in the place of a criterion's name.
"""

from typing import Any

import jax
import jax.numpy as jnp

from renyi_jax.attention import Evidence
from renyi_jax.entropy import renyi_entropy
from renyi_jax.pruning.criteria import (
    Alpha,
    Criterion,
    Scores,
    cls_attention,
    low_entropy,
    received_attention,
)


def sharp_cls_attention(evidence: Evidence, *, alpha: Alpha) -> Scores:
    """Attention of the class token, a head counting by the entropy of what it pays to the patches.

    Head `h` has the weight `exp(-H_alpha(h))`, the inverse of the number of patches that it
    attends to: heads that look at everything say little about any patch.
    """
    attention = evidence.class_row
    to_patches = attention / attention.sum(axis=-1, keepdims=True)
    weights = jnp.exp(-renyi_entropy(to_patches, alpha))
    return jnp.einsum("bh,bhm->bm", weights, attention)


def max_head_cls_attention(evidence: Evidence) -> Scores:
    """The most that any head of the class token pays to a patch."""
    return evidence.class_row.max(axis=1)


def log_cls_attention(evidence: Evidence) -> Scores:
    """The geometric mean over heads of the attention that the class token pays."""
    return jnp.log(evidence.class_row).mean(axis=1)


def cls_times_entropy(evidence: Evidence) -> Scores:
    """`log p_cls(j) - H_alpha(j)`: class attention divided by the patches that j attends to."""
    return jnp.log(cls_attention(evidence)) + low_entropy(evidence)


def cls_rank_entropy(evidence: Evidence) -> Scores:
    """The sum of the ranks by class attention and by low entropy."""
    return _ranks(cls_attention(evidence)) + _ranks(low_entropy(evidence))


def sharpest_received(evidence: Evidence) -> Scores:
    """`sharp_received`, with votes of `exp(-2 H_alpha)`."""
    first = evidence.num_prefix
    patches = jax.nn.softmax(evidence.logits[:, :, first:, first:], axis=-1)
    return jnp.einsum("bhi,bhij->bj", jnp.exp(-2 * evidence.entropy), patches)


def sharp_votes(evidence: Evidence, *, alpha: Alpha) -> Scores:
    """`sharp_received`, with the votes of the prefix tokens too."""
    to_patches = jax.nn.softmax(evidence.logits[..., evidence.num_prefix :], axis=-1)
    votes = jnp.exp(-renyi_entropy(to_patches, alpha))
    return jnp.einsum("bhi,bhij->bj", votes, to_patches)


def cls_two_steps(evidence: Evidence) -> Scores:
    """Attention of the class token after a second step: of the patches that it attends to."""
    first = evidence.num_prefix
    attention = jax.nn.softmax(evidence.logits, axis=-1).mean(axis=1)
    row = attention[:, 0, first:]
    return row + jnp.einsum("bi,bij->bj", row, attention[:, first:, first:])


def cls_times_received(evidence: Evidence) -> Scores:
    """Class attention times the attention that the patches pay."""
    return cls_attention(evidence) * received_attention(evidence)


def _ranks(scores: Scores) -> Scores:
    return jnp.argsort(jnp.argsort(scores, axis=-1), axis=-1).astype(jnp.float32)


def _row(heads: int, _: int, patches: int) -> int:
    return heads * patches


def _square(heads: int, _: int, patches: int) -> int:
    return heads * patches * patches


_ALPHA = ("alpha",)
_COLUMN: Any = {"sums_patches": True}
TRIALS: dict[str, Criterion] = {
    str(row): row
    for row in (
        Criterion(sharp_cls_attention, ("class_row",), lambda h, n, m: 3 * h * m, takes=_ALPHA),
        Criterion(max_head_cls_attention, ("class_row",), _row),
        Criterion(log_cls_attention, ("class_row",), _row),
        Criterion(
            cls_times_entropy,
            ("class_row", "entropy"),
            lambda h, n, m: 2 * h * m * m + h * m,
            shapes=_ALPHA,
        ),
        Criterion(
            cls_rank_entropy,
            ("class_row", "entropy"),
            lambda h, n, m: 2 * h * m * m + h * m,
            shapes=_ALPHA,
        ),
        Criterion(
            sharpest_received,
            ("logits", "entropy"),
            lambda h, n, m: 3 * h * m * m,
            shapes=_ALPHA,
            **_COLUMN,
        ),
        Criterion(sharp_votes, ("logits",), lambda h, n, m: 3 * h * n * m, takes=_ALPHA, **_COLUMN),
        Criterion(cls_two_steps, ("logits",), _square, **_COLUMN),
        Criterion(cls_times_received, ("class_row", "columns"), _square, **_COLUMN),
    )
}
