"""How many patches stay, and which."""

import math
from collections.abc import Sequence
from fractions import Fraction

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from renyi_jax.errors import UserError


def keep_count(num_patches: int, keep_rate: float) -> int:
    """`ceil(keep_rate * num_patches)`, with the rate read as the decimal it was written as.

    The product is exact: 0.55 of 100 patches is 55, where binary floating point gives
    55.000000000000007 and would keep 56.

    Raises UserError: the rate is not in (0, 1], or there is no patch.
    """
    if num_patches < 1:
        raise UserError(f"num_patches must be at least 1, got {num_patches}.")
    if not 0 < keep_rate <= 1:
        raise UserError(f"keep_rate must lie in (0, 1], got {keep_rate!r}.")
    return math.ceil(Fraction(str(float(keep_rate))) * num_patches)


def keep_rate_of(num_patches: int, count: int) -> float:
    """Returns the shortest decimal of which `keep_count` makes `count`, 1 where all stay.

    Raises UserError: the count is not between 1 and `num_patches`.
    """
    if not 1 <= count <= num_patches:
        raise UserError(f"count must lie between 1 and {num_patches}, got {count}.")
    digits, rate = 0, Fraction(0)
    while math.ceil(rate * num_patches) != count:
        digits += 1
        rate = Fraction(count * 10**digits // num_patches, 10**digits)
    return float(rate)


def keep_counts(
    num_patches: int, keep_rate: float | Sequence[float] = 0.7, stages: int = 3
) -> tuple[int, ...]:
    """Returns the number of patches that leave each of `stages` pruned blocks.

    196 patches at 0.7 give `(138, 97, 68)`. `keep_rate` is one share, or one per stage.

    Raises:
        UserError: a rate is not in (0, 1], or there are not as many rates as stages.
    """
    rates = tuple(keep_rate) if isinstance(keep_rate, Sequence) else (keep_rate,) * stages
    if len(rates) != stages:
        raise UserError(f"keep_rate has {len(rates)} values for {stages} stages: {rates}.")
    counts = []
    for rate in rates:
        num_patches = keep_count(num_patches, rate)
        counts.append(num_patches)
    return tuple(counts)


def select(scores: Float[Array, "b n"], count: int) -> Int[Array, "b k"]:
    """Returns the ascending indices of the `count` highest scores; ties go to the lower index.

    A score that is nan counts as the lowest.
    """
    _, indices = jax.lax.top_k(_ranked(scores), count)
    return jnp.sort(indices, axis=-1)


def select_mass(
    scores: Float[Array, "b n"], count: int, keep_mass: float
) -> tuple[Int[Array, "b k"], Bool[Array, "b k"]]:
    """Selects the `count` best, and says which of them an image goes on with by its entropy.

    The mass of a patch is `log n - H`, by which its attention differs from attention to all `n`
    patches alike (Rényi's divergence from the uniform distribution). The fewest patches, the best
    first, that hold `keep_mass` of the image's mass go on, one at least. `scores` are `-H` in nats,
    normalised over the patches; -inf for patches that are gone.
    """
    scores = _ranked(scores)
    there = scores > -jnp.inf
    uniform = jnp.log(there.sum(axis=-1, keepdims=True).astype(scores.dtype))
    mass = jnp.where(there, jnp.maximum(uniform + scores, 0), 0)
    ranked, indices = jax.lax.top_k(scores, count)
    best_first = jnp.take_along_axis(mass, indices, axis=-1)
    held_before = jnp.cumsum(best_first, axis=-1) - best_first
    is_needed = held_before < keep_mass * mass.sum(axis=-1, keepdims=True)
    goes_on = (is_needed & (ranked > -jnp.inf)).at[:, 0].set(True)
    in_order = jnp.argsort(indices, axis=-1)
    return jnp.sort(indices, axis=-1), jnp.take_along_axis(goes_on, in_order, axis=-1)


def _ranked(scores: Float[Array, "b n"]) -> Float[Array, "b n"]:
    return jnp.where(jnp.isnan(scores), -jnp.inf, scores)
