"""Mixup and CutMix: a batch mixed with itself on the device, labels and all.

Pure functions of arrays, for the inside of a jitted step.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray


def mixup_cutmix(
    key: PRNGKeyArray,
    images: Float[Array, "b h w c"],
    labels: Float[Array, "b classes"],
    *,
    mixup: float,
    cutmix: float,
    probability: float = 1.0,
    cutmix_probability: float = 0.5,
) -> tuple[Float[Array, "b h w c"], Float[Array, "b classes"]]:
    """Mixes neighbours: the images 0 and 1 of the batch, 2 and 3, and so on; an odd last one stays.

    A shuffled batch has no better partners, and both lie on the same device. Mixup (Zhang et al.,
    arXiv 1710.09412) takes `lam * x + (1 - lam) * x'`; CutMix (Yun et al., arXiv 1905.04899) puts a
    rectangle of `x'`, of the share `1 - lam` of the area, into `x`. Labels are mixed by the same
    `lam`; for a rectangle that the border cuts, by what is left of it.

    Args:
        key: one draw for the whole batch.
        images: normalised or not; both mixtures are linear.
        labels: one-hot or smoothed.
        mixup: `lam` is drawn from Beta(mixup, mixup); 0 is no mixup. Likewise cutmix.
        probability: with which anything is mixed.
        cutmix_probability: with which CutMix is it, where both are on.
    """
    if not mixup and not cutmix:
        return images, labels
    mix_key, kind_key, mixup_key, cutmix_key, place_key = jax.random.split(key, 5)
    others, other_labels = _neighbours(images), _neighbours(labels)

    lam = _beta(mixup_key, mixup)
    inside, cut_lam = _rectangle(place_key, _beta(cutmix_key, cutmix), *images.shape[1:3])

    cut_share = cutmix_probability if mixup and cutmix else float(cutmix > 0)
    is_cut = jax.random.bernoulli(kind_key, cut_share)
    # The share of each pixel that stays.
    kept = jnp.where(is_cut, 1 - inside, jnp.full_like(inside, lam))
    label_lam = jnp.where(is_cut, cut_lam, lam)
    mixed = jax.random.bernoulli(mix_key, probability)
    kept = jnp.where(mixed, kept, 1.0)[None, :, :, None].astype(images.dtype)
    label_lam = jnp.where(mixed, label_lam, 1.0).astype(labels.dtype)
    return (
        kept * images + (1 - kept) * others,
        label_lam * labels + (1 - label_lam) * other_labels,
    )


def _neighbours(array: Float[Array, "b *rest"]) -> Float[Array, "b *rest"]:
    """Each pair of rows changed about."""
    paired = len(array) - len(array) % 2
    pairs = array[:paired].reshape(-1, 2, *array.shape[1:])
    swapped = pairs[:, ::-1].reshape(paired, *array.shape[1:])
    return jnp.concatenate([swapped, array[paired:]]) if paired < len(array) else swapped


def _beta(key: PRNGKeyArray, alpha: float) -> Float[Array, ""]:
    """A draw from Beta(alpha, alpha), in float32; 1 for an alpha of 0."""
    return jax.random.beta(key, alpha, alpha) if alpha else jnp.ones(())


def _rectangle(
    key: PRNGKeyArray, lam: Float[Array, ""], height: int, width: int
) -> tuple[Float[Array, "h w"], Float[Array, ""]]:
    """1 inside a rectangle of the image's shape and the share `1 - lam` of its area, 0 outside.

    Its middle is any pixel, so the border may cut it; the second value is the share of the image
    that is left outside.
    """
    middles = jax.random.randint(key, (2,), 0, jnp.array([height, width]))
    rows, columns = (
        _interval(middle, jnp.floor(side * jnp.sqrt(1 - lam)).astype(int), side)
        for middle, side in zip(middles, (height, width))
    )
    rectangle = jnp.outer(rows, columns).astype(jnp.float32)
    return rectangle, 1 - rectangle.mean()


def _interval(middle: Int[Array, ""], length: Any, size: int) -> Bool[Array, "size"]:
    start = middle - length // 2
    place = jnp.arange(size)
    return (start <= place) & (place < start + length)
