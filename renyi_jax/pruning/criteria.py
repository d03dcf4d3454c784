"""A score per patch: the higher, the more important.

To add a criterion, write a pure function of the attention logits and add it to `CRITERIA`.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from renyi_jax.entropy import attention_entropy
from renyi_jax.errors import UserError, nearest

Logits = Float[Array, "b h q n"]
Scores = Float[Array, "b m"]
Alpha = float | Float[Array, ""]

# Orders beyond this are infinity to the last bit of a float32.
_LARGEST_ORDER = 1e12


def renyi(
    logits: Logits,
    num_prefix: int,
    *,
    alpha: Alpha,
    normalize: bool = True,
    heads: str = "mean",
    prefix_keys: bool = False,
) -> Scores:
    """`-H_alpha` of the attention that each patch pays to the patches (arXiv 2604.03803).

    Args:
        logits: scaled attention logits.
        num_prefix: prefix tokens, whose rows are not scored and whose keys are left out.
        alpha: order of the entropy, in (0, inf].
        normalize: renormalise each row over the patch keys.
        heads: "mean" of the per-head entropies, or "average_first": the entropy of the
            head-averaged attention.
        prefix_keys: count the attention to the prefix tokens too. The softmax over all keys is a
            distribution as it is, and `normalize` says nothing then.
    """
    if heads == "average_first":
        logits = jax.nn.logsumexp(jax.nn.log_softmax(logits, axis=-1), axis=1, keepdims=True)
    if prefix_keys:
        entropy = attention_entropy(logits, alpha, 0)[..., num_prefix:]
    else:
        # Softmax does not see that the sum over heads is no mean.
        entropy = attention_entropy(logits, alpha, num_prefix, normalize)
    return -entropy.mean(axis=1)


def shannon(logits: Logits, num_prefix: int, **options: Any) -> Scores:
    """`-H_1`, Shannon's entropy: `renyi` at alpha = 1, with its options."""
    return renyi(logits, num_prefix, alpha=1.0, **options)


def min_entropy(logits: Logits, num_prefix: int, **options: Any) -> Scores:
    """`-H_inf = log max_j a_j`: `renyi` at alpha = inf, with its options."""
    return renyi(logits, num_prefix, alpha=math.inf, **options)


def cls_attention(logits: Logits, num_prefix: int) -> Scores:
    """Attention that the class token pays to each patch, averaged over heads (EViT, equation 3)."""
    return _class_row(logits, num_prefix).mean(axis=1)


def head_variance(logits: Logits, num_prefix: int) -> Scores:
    """Variance over heads of the attention that the class token pays to each patch.

    A patch that the heads disagree about is worth keeping (Igaue and Aizawa 2025,
    arXiv 2507.19175). With one head there is nothing to disagree, and the score is 0.
    """
    return _class_row(logits, num_prefix).var(axis=1)


def head_mad(logits: Logits, num_prefix: int) -> Scores:
    """Median absolute deviation, over heads, of the attention that the class token pays.

    The robust twin of `head_variance`: `median_h |p_h - median_h p_h|` (arXiv 2507.19175).
    """
    attention = _class_row(logits, num_prefix)
    middle = jnp.median(attention, axis=1, keepdims=True)
    return jnp.median(jnp.abs(attention - middle), axis=1)


def received_attention(logits: Logits, num_prefix: int, *, normalize: bool = True) -> Scores:
    """Attention that each patch receives from the patches, averaged over heads and queries.

    Args:
        logits: scaled attention logits.
        num_prefix: prefix tokens, whose rows are not counted.
        normalize: renormalise each row over the patch keys.
    """
    return jnp.exp(_log_attention_of_patches(logits, num_prefix, normalize)).mean(axis=(1, 2))


def sharp_received(logits: Logits, num_prefix: int, *, alpha: Alpha) -> Scores:
    """`received_attention`, where a patch has the more say the fewer patches it attends to.

        s(j) = sum_i exp(-H_alpha(i)) a_ij,    mean over heads

    `exp(H_alpha(i))` is the effective number of patches that `i` attends to; of order 2 the weight
    is `sum_j a_ij^2`. It needs no class token.

    Args:
        logits: scaled attention logits.
        num_prefix: prefix tokens, whose rows and keys are left out.
        alpha: order of the entropy, in (0, inf].
    """
    attention = jnp.exp(_log_attention_of_patches(logits, num_prefix, True))
    weights = jnp.exp(-attention_entropy(logits, alpha, num_prefix))
    return jnp.einsum("bhi,bhij->bj", weights, attention) / logits.shape[1]


def column_norm(
    logits: Logits, num_prefix: int, *, alpha: Alpha, normalize: bool = True, heads: str = "mean"
) -> Scores:
    """L_n norm of a patch's column of the attention matrix, over the rows of the patches.

        norm_n(j) = (sum_i a_ij^n)^(1/n),    n = alpha

    Order 1 ranks like `received_attention`; inf takes the largest attention that a patch receives.

    Args:
        logits: scaled attention logits.
        num_prefix: prefix tokens, whose rows are not counted.
        alpha: the order n, in (0, inf].
        normalize: renormalise each row over the patch keys.
        heads: "mean" of the per-head norms, or "average_first": the norm of the head-averaged
            attention.
    """
    log_attention = _log_attention_of_patches(logits, num_prefix, normalize)
    if heads == "average_first":
        log_attention = jax.nn.logsumexp(log_attention, axis=1, keepdims=True)
        log_attention = log_attention - math.log(logits.shape[1])
    order = jnp.minimum(alpha, _LARGEST_ORDER)
    top = log_attention.max(axis=2)
    below = order * (log_attention - top[:, :, None])
    return jnp.exp(top + jax.nn.logsumexp(below, axis=2) / order).mean(axis=1)


def random(logits: Logits, num_prefix: int, *, draws: Float[Array, "b drawn"]) -> Scores:
    """Random scores: the baseline that any criterion has to beat.

    Args:
        logits: of which only the shape counts.
        num_prefix: prefix tokens, which are not scored.
        draws: numbers drawn for every image, as many as it has patches or more.
    """
    return draws[:, : logits.shape[-1] - num_prefix]


def _class_row(logits: Logits, num_prefix: int) -> Float[Array, "b h m"]:
    """The attention that the class token pays to the patches."""
    return jax.nn.softmax(logits[:, :, 0, :], axis=-1)[..., num_prefix:]


def _log_attention_of_patches(
    logits: Logits, num_prefix: int, normalize: bool
) -> Float[Array, "b h m m"]:
    """The logarithm of the attention that patches pay to patches."""
    rows = logits[:, :, num_prefix:, :]
    patches = rows[..., num_prefix:]
    return patches - jax.nn.logsumexp(patches if normalize else rows, axis=-1, keepdims=True)


class Criterion(NamedTuple):
    """One row of the table.

    Attributes:
        score: the function.
        reads: what of the attention a patch is judged by: the row of what it pays ("own_row"), the
            class token's row, its column of what the patches pay to it, or nothing.
        options: those of `score_patches` that the function takes.
        multiply_adds: `(h, n, m)` to those of one image with `h` heads, `n` tokens and `m`
            patches, beyond what attention computes anyway.
        order: of the entropy that a row of its own is judged by, from alpha; None for the others.
    """

    score: Callable[..., Scores]
    reads: Literal["own_row", "class_row", "column", "nothing"]
    options: tuple[str, ...]
    multiply_adds: Callable[[int, int, int], int]
    order: Callable[[Alpha], Alpha] | None = None

    @property
    def is_entropy(self) -> bool:
        """Whether the score is `-H`, in nats."""
        return self.reads == "own_row"


def _powers_cost(heads: int, _: int, patches: int) -> int:
    # One multiplication by the order and one accumulation per logit, for each of two sums.
    return 2 * heads * patches * patches


def _row_cost(heads: int, _: int, patches: int) -> int:
    return heads * patches


_ENTROPY_OPTIONS = ("normalize", "heads", "prefix_keys")

CRITERIA: dict[str, Criterion] = {
    "renyi": Criterion(
        renyi, "own_row", ("alpha", *_ENTROPY_OPTIONS), _powers_cost, lambda alpha: alpha
    ),
    "shannon": Criterion(shannon, "own_row", _ENTROPY_OPTIONS, _powers_cost, lambda alpha: 1.0),
    "min_entropy": Criterion(
        min_entropy, "own_row", _ENTROPY_OPTIONS, _powers_cost, lambda alpha: math.inf
    ),
    "cls_attention": Criterion(cls_attention, "class_row", (), _row_cost),
    "received_attention": Criterion(
        received_attention, "column", ("normalize",), lambda h, n, m: h * m * m
    ),
    "sharp_received": Criterion(
        sharp_received, "column", ("alpha",), lambda h, n, m: 3 * h * m * m
    ),
    "head_variance": Criterion(head_variance, "class_row", (), lambda h, n, m: 2 * h * m),
    "head_mad": Criterion(head_mad, "class_row", (), _row_cost),
    "column_norm": Criterion(column_norm, "column", ("alpha", "normalize", "heads"), _powers_cost),
    "random": Criterion(random, "nothing", ("draws",), lambda h, n, m: 0),
}


def score_patches(criterion: str, logits: Logits, num_prefix: int, **options: object) -> Scores:
    """Scores the patches by the named criterion, giving it those of `options` that it takes.

    Raises:
        UserError: no criterion has this name.
    """
    if criterion not in CRITERIA:
        raise UserError(
            f"Unknown criterion {criterion!r}; known: {', '.join(CRITERIA)}."
            + nearest(criterion, CRITERIA)
        )
    entry = CRITERIA[criterion]
    return entry.score(logits, num_prefix, **{name: options[name] for name in entry.options})
