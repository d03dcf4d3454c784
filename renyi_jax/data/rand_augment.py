"""RandAugment (Cubuk et al., arXiv 1909.13719) with timm's operations and strengths.

This is what timm calls `rand-m9-mstd0.5-inc1`, where the effect of every operation grows with its
magnitude. The operations themselves are Pillow's, as they are timm's: the pixels are the same.
timm cannot be used, since it needs torch.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

MAX_MAGNITUDE = 10.0


@dataclasses.dataclass(frozen=True)
class Canvas:
    """How an operation that moves pixels fills what it leaves empty, and how it interpolates."""

    fill: tuple[int, ...]
    resampling: Image.Resampling


# An operation takes the image, its strength (0 to 1, the magnitude over MAX_MAGNITUDE), a sign for
# those that go both ways, and the canvas.
Operation = Callable[[Image.Image, float, int, Canvas], Image.Image]


def _enhance(enhancer: type) -> Operation:
    """Brings out or takes back what a Pillow enhancer changes; its factor 1 changes nothing."""

    def operation(image: Image.Image, strength: float, sign: int, canvas: Canvas) -> Image.Image:
        return enhancer(image).enhance(max(0.1, 1 + sign * 0.9 * strength))

    return operation


def _affine(matrix: Callable[[float, tuple[int, int]], Sequence[float]]) -> Operation:
    """Moves pixels; `matrix` takes the signed strength and the (width, height)."""

    def operation(image: Image.Image, strength: float, sign: int, canvas: Canvas) -> Image.Image:
        return image.transform(
            image.size,
            Image.Transform.AFFINE,
            matrix(sign * strength, image.size),
            resample=canvas.resampling,
            fillcolor=canvas.fill,
        )

    return operation


OPERATIONS: dict[str, Operation] = {
    "auto_contrast": lambda image, *_: ImageOps.autocontrast(image),
    "equalize": lambda image, *_: ImageOps.equalize(image),
    "invert": lambda image, *_: ImageOps.invert(image),
    "rotate": lambda image, strength, sign, canvas: image.rotate(
        sign * 30 * strength, canvas.resampling, fillcolor=canvas.fill
    ),
    # timm keeps no bit at full strength: a black image, which newer Pillows refuse to make.
    "posterize": lambda image, strength, *_: ImageOps.posterize(
        image, max(1, 4 - int(4 * strength))
    ),
    "solarize": lambda image, strength, *_: ImageOps.solarize(image, 256 - int(256 * strength)),
    "solarize_add": lambda image, strength, *_: image.point(
        [min(255, v + int(110 * strength)) if v < 128 else v for v in range(256)] * 3
    ),
    "color": _enhance(ImageEnhance.Color),
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
    "shear_x": _affine(lambda s, size: (1, 0.3 * s, 0, 0, 1, 0)),
    "shear_y": _affine(lambda s, size: (1, 0, 0, 0.3 * s, 1, 0)),
    "translate_x": _affine(lambda s, size: (1, 0, 0.45 * s * size[0], 0, 1, 0)),
    "translate_y": _affine(lambda s, size: (1, 0, 0, 0, 1, 0.45 * s * size[1])),
}


def rand_augment(
    image: Image.Image,
    rng: np.random.Generator,
    *,
    magnitude: float,
    magnitude_std: float,
    num_layers: int,
    fill: tuple[int, ...],
    resamplings: Sequence[Image.Resampling],
) -> Image.Image:
    """Draws `num_layers` operations, and applies each with probability one half.

    Args:
        magnitude: mean of the magnitudes, 0 to `MAX_MAGNITUDE`, each drawn anew.
        magnitude_std: their standard deviation; draws beyond 0 and `MAX_MAGNITUDE` are cut.
        fill: colour of the pixels that come from outside the image.
        resamplings: of which each operation that moves pixels takes one.
    """
    names = list(OPERATIONS)
    for index in rng.integers(len(names), size=num_layers):
        if rng.random() < 0.5:
            drawn = magnitude + magnitude_std * rng.standard_normal()
            strength = min(max(drawn, 0.0), MAX_MAGNITUDE) / MAX_MAGNITUDE
            canvas = Canvas(fill, resamplings[int(rng.integers(len(resamplings)))])
            sign = 1 if rng.random() < 0.5 else -1
            image = OPERATIONS[names[index]](image, strength, sign, canvas)
    return image
