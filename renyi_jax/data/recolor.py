"""Random changes of an image's colours, and what is put over it."""

import math

import numpy as np
from PIL import Image, ImageEnhance

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
    for _ in range(10):
        area = rng.uniform(0.02, 1 / 3) * image.width * image.height
        aspect = math.exp(rng.uniform(math.log(0.3), -math.log(0.3)))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < height < image.height and 0 < width < image.width:
            left = int(rng.integers(image.width - width + 1))
            top = int(rng.integers(image.height - height + 1))
            noise = 255 * (np.array(mean) + rng.standard_normal((height, width, 3)) * std)
            noise = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
            erased = image.copy()
            erased.paste(Image.fromarray(noise), (left, top))
            return erased
    return image
