"""A score per patch: the higher, the more important.

To add a criterion, write a pure function of `Evidence` and add it to `CRITERIA`.
"""

import dataclasses
import math
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from renyi_jax.attention import Evidence

Scores = Float[Array, "b m"]
Alpha = float | Float[Array, ""]

# Orders beyond this are infinity to the last bit of a float32.
_LARGEST_ORDER = 1e12


def low_entropy(evidence: Evidence) -> Scores:
    """Returns `-H_alpha` of the attention that each patch pays, mean over heads (arXiv 2604.03803).

    At alpha = 1 this is Shannon's entropy, and at inf the min-entropy: `log max_j a_j`.
    """
    return -evidence.entropy.mean(axis=1)


def cls_attention(evidence: Evidence) -> Scores:
    """Returns what the class token pays to each patch, mean over heads (EViT, equation 3)."""
    return evidence.class_row.mean(axis=1)


def head_variance(evidence: Evidence) -> Scores:
    """Returns the variance over heads of the attention that the class token pays to each patch.

    A patch that the heads disagree about is worth keeping (Igaue and Aizawa 2025,
    arXiv 2507.19175).
    """
    return evidence.class_row.var(axis=1)


def head_mad(evidence: Evidence) -> Scores:
    """Returns the median absolute deviation, over heads, of what the class token pays.

    The robust twin of `head_variance`: `median_h |p_h - median_h p_h|` (arXiv 2507.19175).
    """
    middle = jnp.median(evidence.class_row, axis=1, keepdims=True)
    return jnp.median(jnp.abs(evidence.class_row - middle), axis=1)


def received_attention(evidence: Evidence) -> Scores:
    """Returns what each patch receives from the patches, mean over heads and queries."""
    return jnp.exp(evidence.columns).mean(axis=1) / evidence.columns.shape[-1]


def sharp_received(evidence: Evidence) -> Scores:
    """Returns `received_attention`, where a patch counts the more the fewer it attends to.

        s(j) = sum_i exp(-H_alpha(i)) a_ij,    mean over heads

    `exp(H_alpha(i))` is the effective number of patches that `i` attends to; of order 2 the weight
    is `sum_j a_ij^2`. It needs no class token.
    """
    return jnp.exp(evidence.columns).mean(axis=1)


def column_norm(evidence: Evidence, *, alpha: Alpha) -> Scores:
    """Returns the L_n norm of a patch's column of the attention matrix, over rows of patches.

        norm_n(j) = (sum_i a_ij^n)^(1/n),    n = alpha

    Order 1 ranks like `received_attention`; inf takes the largest attention that a patch receives.
    This is Col-Ln (Su, Zhang and Zhang 2026, arXiv 2603.27900), proposed for the first blocks,
    where the class token still knows little. The mean is taken over the norms of the heads.

    Args:
        alpha: the order n, in (0, inf].
    """
    return jnp.exp(evidence.columns / _finite(alpha)).mean(axis=1)


def random(evidence: Evidence) -> Scores:
    """Returns random scores: the baseline that any criterion has to beat."""
    return evidence.draws


def _finite(alpha: Alpha) -> Alpha:
    return jnp.minimum(alpha, _LARGEST_ORDER)


@dataclasses.dataclass(frozen=True)
class Criterion:
    """One row of the table."""

    score: Callable[..., Scores]  # the function, of `Evidence` and of `takes`
    needs: tuple[str, ...]  # the fields of `Evidence` that it reads
    # `(h, n, m)` to those of one image with `h` heads, `n` tokens and `m` patches, beyond what
    # attention computes anyway
    multiply_adds: Callable[[int, int, int], int]
    takes: tuple[str, ...] = ()  # the options of a stage that the function takes by name
    # the options of a stage that decide which entropy, or which columns, it reads
    shapes: tuple[str, ...] = ()
    order: Callable[[Alpha], Alpha] = lambda alpha: alpha  # of that entropy, from alpha
    # of the attention in those columns, from alpha
    power: Callable[[Alpha], Alpha] = lambda alpha: 1.0
    is_entropy: bool = False  # whether the score is `-H`, in nats
    # whether it sums over the patches of an image, and so over masked ones
    sums_patches: bool = False
    compares_heads: bool = False  # whether one head alone tells it nothing
    # the method that prunes by it, as the field calls it, where there is one
    published: str | None = None

    def __str__(self) -> str:
        return self.score.__name__

    @property
    def options(self) -> tuple[str, ...]:
        """The options of a stage that make a difference to it."""
        return self.takes + self.shapes

    @property
    def reads_class_token(self) -> bool:
        """Whether it goes by what the class token pays."""
        return "class_row" in self.needs


def _powers_cost(heads: int, _: int, patches: int) -> int:
    # One multiplication by the order and one accumulation per logit, for each of two sums.
    return 2 * heads * patches * patches


def _row_cost(heads: int, _: int, patches: int) -> int:
    return heads * patches


def _entropy(order: Callable[[Alpha], Alpha], *shapes: str) -> Criterion:
    shapes = (*shapes, "normalize", "heads", "prefix_keys")
    return Criterion(
        low_entropy, ("entropy",), _powers_cost, shapes=shapes, order=order, is_entropy=True
    )


CRITERIA: dict[str, Criterion] = {
    "renyi": _entropy(lambda alpha: alpha, "alpha"),
    "shannon": _entropy(lambda alpha: 1.0),
    "min_entropy": _entropy(lambda alpha: math.inf),
    "cls_attention": Criterion(cls_attention, ("class_row",), _row_cost, published="EViT"),
    "received_attention": Criterion(
        received_attention,
        ("columns",),
        lambda h, n, m: h * m * m,
        shapes=("normalize",),
        sums_patches=True,
    ),
    "sharp_received": Criterion(
        sharp_received,
        ("columns", "entropy"),
        lambda h, n, m: 3 * h * m * m,
        shapes=("alpha",),
        sums_patches=True,
    ),
    "head_variance": Criterion(
        head_variance, ("class_row",), lambda h, n, m: 2 * h * m, compares_heads=True
    ),
    "head_mad": Criterion(head_mad, ("class_row",), _row_cost, compares_heads=True),
    "column_norm": Criterion(
        column_norm,
        ("columns",),
        _powers_cost,
        takes=("alpha",),
        shapes=("normalize", "heads"),
        power=_finite,
        sums_patches=True,
    ),
    "random": Criterion(random, ("draws",), lambda h, n, m: 0),
}

DEFAULT_CRITERION = next(iter(CRITERIA))
"""The first row: what scores the patches where nothing says so."""

PUBLISHED = tuple(name for name, row in CRITERIA.items() if row.published)
"""What others prune by, and the field compares with."""

DRAWN = tuple(name for name, row in CRITERIA.items() if "draws" in row.needs)
"""What any other criterion has to beat."""
