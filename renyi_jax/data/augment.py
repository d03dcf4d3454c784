"""Random changes of training examples on the host, one image at a time.

`TRANSFORMS` is the table: to add one, write a factory here and enter it with the field of
`config.data` that turns it on. They run in the order of the table, which is timm's.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from renyi_jax.data import clutter
from renyi_jax.data.dataset import DataConfig, Dataset
from renyi_jax.data.rand_augment import rand_augment
from renyi_jax.data.recolor import erase, jitter_color
from renyi_jax.errors import UserError
from renyi_jax.images import INTERPOLATIONS, Size, center_crop
from renyi_jax.images.crop import random_resized_crop

Example = dict[str, Any]
"""`image` is a Pillow image in mode RGB."""

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
    if options.clutter < 0:
        raise UserError(f"config.data.clutter={options.clutter}; expected 0 or more fragments.")
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
    canvas, _ = clutter.compose(rng, garments, int(example["index"]), num_fragments)
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
