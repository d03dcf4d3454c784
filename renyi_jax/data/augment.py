"""Random changes of training examples: on the host one image at a time, on the device in batches.

`TRANSFORMS` is the table: to add one, write a function here and enter it with the field of
`config.data` that turns it on. They run in the order of the table, which is timm's. Mixup and
CutMix mix a batch with itself, labels and all, within the training step.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8
from PIL import Image, ImageEnhance

from renyi_jax.data.clutter import compose
from renyi_jax.data.dataset import DataConfig, Dataset
from renyi_jax.data.rand_augment import rand_augment
from renyi_jax.images import INTERPOLATIONS, Size, center_crop
from renyi_jax.images.crop import draw_box, random_resized_crop

Example = dict[str, Any]  # `image` is a Pillow image in mode RGB

Transform = Callable[[Example, np.random.Generator], Example]


@dataclasses.dataclass(frozen=True)
class Target:
    """What the model takes: the size of its images, and the mean and standard deviation that they
    are normalised with."""

    size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]


# What it returns travels to worker processes, so it is made of functions that have a name.
Factory = Callable[[Dataset, DataConfig, Target], Transform]


def _fresh_clutter(dataset: Dataset, options: DataConfig, target: Target) -> Transform:
    return functools.partial(
        compose_canvas, garments=dataset.garments.images, num_fragments=options.clutter
    )


def compose_canvas(
    example: Example,
    rng: np.random.Generator,
    *,
    garments: UInt8[np.ndarray, "n h w"],
    num_fragments: int,
) -> Example:
    """A canvas that no other visit of the garment sees becomes the `image`."""
    canvas, _ = compose(rng, garments, int(example["index"]), num_fragments)
    return {**example, "image": Image.fromarray(canvas).convert("RGB")}


def _crop(dataset: Dataset, options: DataConfig, target: Target) -> Transform:
    if not options.random_resized_crop:
        return _on_image(_middle, size=target.size)
    return _on_image(
        random_resized_crop,
        size=target.size,
        scale=options.crop_scale,
        ratio=options.crop_ratio,
        resamplings=INTERPOLATIONS[options.interpolation],
    )


def _middle(image: Image.Image, rng: np.random.Generator, *, size: Size) -> Image.Image:
    return center_crop(image, size)


def mirror(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Mirrors every second image, left to right."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


def _rand_augment(dataset: Dataset, options: DataConfig, target: Target) -> Transform:
    return _on_image(
        rand_augment,
        magnitude=options.rand_augment,
        magnitude_std=options.rand_augment_std,
        num_layers=options.rand_augment_layers,
        fill=tuple(min(255, round(255 * mean)) for mean in target.mean),
        resamplings=INTERPOLATIONS[options.interpolation],
    )


def _on_image(change: Callable[..., Image.Image], **options: Any) -> Transform:
    return functools.partial(_change_image, change=functools.partial(change, **options))


def _change_image(
    example: Example, rng: np.random.Generator, *, change: Callable[..., Image.Image]
) -> Example:
    return {**example, "image": change(example["image"], rng)}


_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def jitter_color(image: Image.Image, rng: np.random.Generator, *, amount: float) -> Image.Image:
    """Brightness, contrast and saturation, in random order, each times 1 - amount to 1 + amount."""
    for index in rng.permutation(len(_ENHANCERS)):
        factor = rng.uniform(max(0.0, 1 - amount), 1 + amount)
        image = _ENHANCERS[index](image).enhance(factor)
    return image


def erase(
    image: Image.Image,
    rng: np.random.Generator,
    *,
    probability: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Image.Image:
    """Puts noise over a random rectangle (Zhong et al., arXiv 1708.04896).

    The rectangle covers 2 % to a third of the image, and is 0.3 to 1 / 0.3 times as high as wide.
    The noise is standard normal once the image is normalised by `mean` and `std`, but for what is
    darker than black or brighter than white.
    """
    if rng.random() >= probability:
        return image
    box = draw_box(image.size, rng, scale=(0.02, 1 / 3), ratio=(0.3, 1 / 0.3))
    if box is None:
        return image
    left, top, width, height = box
    noise = 255 * (np.array(mean) + rng.standard_normal((height, width, 3)) * std)
    erased = image.copy()
    pixels = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
    erased.paste(Image.fromarray(pixels), (left, top))
    return erased


# The field of `config.data` that turns a transform on (None: nothing can turn it off).
TRANSFORMS: tuple[tuple[str | None, Factory], ...] = (
    ("fresh_clutter", _fresh_clutter),
    (None, _crop),
    ("flip", lambda dataset, options, target: _on_image(mirror)),
    ("rand_augment", _rand_augment),
    (
        "color_jitter",
        lambda dataset, options, target: _on_image(jitter_color, amount=options.color_jitter),
    ),
    (
        "random_erasing",
        lambda dataset, options, target: _on_image(
            erase, probability=options.random_erasing, mean=target.mean, std=target.std
        ),
    ),
)


def train_transforms(dataset: Dataset, options: DataConfig, target: Target) -> list[Transform]:
    """The transforms that `options` (`config.data`) turns on, in their order."""
    return [
        make(dataset, options, target)
        for field, make in TRANSFORMS
        if field is None or options[field]
    ]


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
        images: normalised or not; both mixtures are linear.
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
