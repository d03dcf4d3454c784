"""Brings images of any shape to the size that a model takes."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Size = tuple[int, int]  # (height, width) in pixels

INTERPOLATIONS = {
    "bicubic": (Image.Resampling.BICUBIC,),
    "bilinear": (Image.Resampling.BILINEAR,),
    "random": (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC),
}
"""What `config.data.interpolation` may be: the resamplings of which each use takes one."""


# Pixels of a resized image that are held at once, in half a gigabyte. Only strips have more: at
# 224 x 224 pixels, those that are two thousand times as long as they are wide.
_HELD = 2**27


def crop_picture(
    image: Image.Image, size: Size, crop_pct: float = 1.0, interpolation: str = "bicubic"
) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the middle of an RGB image of any shape, as a model takes it; see `center_crop`."""
    return np.asarray(center_crop(image, size, crop_pct, *INTERPOLATIONS[interpolation]))


def center_crop(
    image: Image.Image,
    size: Size,
    crop_pct: float = 1.0,
    resampling: Image.Resampling = Image.Resampling.BICUBIC,
) -> Image.Image:
    """Returns the middle of the image, of the share `crop_pct` of its shorter side.

    The image is first resized, its aspect kept, until its shorter side is `size / crop_pct`, with
    timm's roundings (`transforms_imagenet_eval`) and so its pixels. If the whole would not fit into
    memory, only the middle is resized, whose pixels may differ a little.
    """
    height, width = size
    full_height, full_width = math.floor(height / crop_pct), math.floor(width / crop_pct)
    if full_height == full_width:
        shorter = min(image.size)
        resized = [
            full_width if side == shorter else int(full_width * side / shorter)
            for side in image.size
        ]
    else:
        ratio = min(image.width / full_width, image.height / full_height)
        resized = [round(side / ratio) for side in image.size]
    left, top = round((resized[0] - width) / 2), round((resized[1] - height) / 2)
    box = (left, top, left + width, top + height)
    if math.prod(resized) > _HELD:
        scales = [side / new for side, new in zip(image.size, resized)]
        left, top, right, bottom = (
            min(place * scale, side) for place, scale, side in zip(box, 2 * scales, 2 * image.size)
        )
        return image.resize((width, height), resampling, (left, top, right, bottom))
    if tuple(resized) != image.size:
        image = image.resize((resized[0], resized[1]), resampling)
    return image.crop(box)


def random_resized_crop(
    image: Image.Image,
    rng: np.random.Generator,
    *,
    size: Size,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    resamplings: Sequence[Image.Resampling],
) -> Image.Image:
    """Resizes a random part of the image to `size` (Szegedy et al., arXiv 1409.4842, section 6).

    `scale` is the range of its share of the area, `ratio` that of its width over its height, drawn
    evenly in the logarithm.
    """
    width, height = image.size
    box = draw_box(image.size, rng, scale, ratio)
    if box is None:  # the middle, of the nearest shape that fits
        aspect = min(max(width / height, ratio[0]), ratio[1])
        part_width = min(width, max(1, round(height * aspect)))
        part_height = min(height, max(1, round(width / aspect)))
        box = (width - part_width) // 2, (height - part_height) // 2, part_width, part_height
    left, top, width, height = box
    part = image.crop((left, top, left + width, top + height))
    return part.resize((size[1], size[0]), resamplings[int(rng.integers(len(resamplings)))])


def draw_box(
    image_size: tuple[int, int],
    rng: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int] | None:
    """Left, top, width and height of a part, drawn as in `random_resized_crop`; None where ten
    draws do not fit the image."""
    width, height = image_size
    for _ in range(10):
        area = rng.uniform(*scale) * width * height
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        part_width, part_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < part_width <= width and 0 < part_height <= height:
            left = int(rng.integers(width - part_width + 1))
            top = int(rng.integers(height - part_height + 1))
            return left, top, part_width, part_height
    return None
