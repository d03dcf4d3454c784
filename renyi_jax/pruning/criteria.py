"""A score per patch: the higher, the more important.

To add a criterion, write a pure function of the attention logits and add it to `CRITERIA`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from renyi_jax.entropy import attention_entropy
from renyi_jax.errors import UserError, nearest

Logits = Float[Array, "b h n n"]
Scores = Float[Array, "b m"]
Alpha = float | Float[Array, ""]


def renyi(
    logits: Logits, num_prefix: int, *, alpha: Alpha, normalize: bool = True, heads: str = "mean"
) -> Scores:
    """`-H_alpha` of the attention that each patch pays to the patches (arXiv 2604.03803).

    Args:
        logits: scaled attention logits.
        num_prefix: prefix tokens, whose rows are not scored and whose keys are left out.
        alpha: order of the entropy, in (0, inf].
        normalize: renormalise each row over the patch keys.
        heads: "mean" of the per-head entropies, or "average_first": the entropy of the
            head-averaged attention.
    """
    if heads == "mean":
        return -attention_entropy(logits, alpha, num_prefix, normalize).mean(axis=1)
    log_attention = jax.nn.logsumexp(jax.nn.log_softmax(logits, axis=-1), axis=1)
    log_attention = log_attention - math.log(logits.shape[1])
    return -attention_entropy(log_attention, alpha, num_prefix, normalize)


def shannon(
    logits: Logits, num_prefix: int, *, normalize: bool = True, heads: str = "mean"
) -> Scores:
    """`-H_1`, Shannon's entropy: `renyi` at alpha = 1."""
    return renyi(logits, num_prefix, alpha=1.0, normalize=normalize, heads=heads)


def min_entropy(
    logits: Logits, num_prefix: int, *, normalize: bool = True, heads: str = "mean"
) -> Scores:
    """`-H_inf = log max_j a_j`: `renyi` at alpha = inf."""
    return renyi(logits, num_prefix, alpha=math.inf, normalize=normalize, heads=heads)


def cls_attention(logits: Logits, num_prefix: int) -> Scores:
    """Attention that the class token pays to each patch, averaged over heads (EViT, equation 3)."""
    return jax.nn.softmax(logits[:, :, 0, :], axis=-1)[..., num_prefix:].mean(axis=1)


def received_attention(logits: Logits, num_prefix: int) -> Scores:
    """Attention that each patch receives from the patches, averaged over heads and queries."""
    attention = jax.nn.softmax(logits[:, :, num_prefix:, :], axis=-1)
    return attention[..., num_prefix:].mean(axis=(1, 2))


def random(logits: Logits, num_prefix: int, *, key: PRNGKeyArray) -> Scores:
    """Uniform scores: the baseline that any criterion has to beat."""
    return jax.random.uniform(key, (logits.shape[0], logits.shape[-1] - num_prefix))


class Criterion(NamedTuple):
    """One row of the table: the function, the options it takes, and what it costs.

    `multiply_adds(h, n, m)` counts those of one image for `h` heads, `n` tokens and `m` patches,
    beyond what attention computes anyway.
    """

    score: Callable[..., Scores]
    options: tuple[str, ...]
    multiply_adds: Callable[[int, int, int], int]


def _entropy_cost(heads: int, _: int, patches: int) -> int:
    # One multiplication by alpha and one accumulation per logit, for each of two logsumexps.
    return 2 * heads * patches * patches


CRITERIA: dict[str, Criterion] = {
    "renyi": Criterion(renyi, ("alpha", "normalize", "heads"), _entropy_cost),
    "shannon": Criterion(shannon, ("normalize", "heads"), _entropy_cost),
    "min_entropy": Criterion(min_entropy, ("normalize", "heads"), _entropy_cost),
    "cls_attention": Criterion(cls_attention, (), lambda h, n, m: h * m),
    "received_attention": Criterion(received_attention, (), lambda h, n, m: h * m * m),
    "random": Criterion(random, ("key",), lambda h, n, m: 0),
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
