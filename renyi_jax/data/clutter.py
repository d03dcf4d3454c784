"""Cluttered canvases: a garment at a random place among fragments of other garments.

The construction is that of cluttered MNIST (Mnih et al., "Recurrent Models of Visual Attention",
arXiv 1406.6247, section 4.1) with photographs of garments for digits. The garment lies on top, so
its pixels are known exactly: the mask tells which patches a pruned model should have kept.
"""

import numpy as np
from jaxtyping import Bool, UInt8

CANVAS_SIZE = 56
FRAGMENT_SIZE = 9
NUM_FRAGMENTS = 8


def canvas_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Returns the random stream of one canvas, a function of three non-negative integers alone.

    Philox is counter-based: streams never meet, and any worker composes the same canvas.
    """
    key = np.array([seed, epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))


def cluttered_canvas(
    rng: np.random.Generator,
    garment: UInt8[np.ndarray, "h w"],
    others: UInt8[np.ndarray, "fragments h w"],
    canvas_size: int = CANVAS_SIZE,
    fragment_size: int = FRAGMENT_SIZE,
) -> tuple[UInt8[np.ndarray, "c c"], Bool[np.ndarray, "c c"]]:
    """Puts a random crop of each of `others` at a random place, and `garment` over them.

    Fragments that meet merge by their maximum; the garment hides what lies under it wherever its
    grey level is above 0. Returns the canvas in grey levels, and the mask of the garment's pixels.
    """
    height, width = garment.shape
    # Places that each corner may take: crops and fragments (y, x), then the garment (y, x). All
    # are drawn in one call, since a call for each coordinate would take most of the time.
    crop = (height - fragment_size + 1, width - fragment_size + 1)
    place = (canvas_size - fragment_size + 1,) * 2
    free = (canvas_size - height + 1, canvas_size - width + 1)
    choices = np.array((crop + place) * len(others) + free)
    corners = (rng.random(len(choices)) * choices).astype(np.intp).tolist()

    image = np.zeros((canvas_size, canvas_size), np.uint8)
    for i, other in enumerate(others):
        from_y, from_x, y, x = corners[4 * i : 4 * i + 4]
        fragment = other[from_y : from_y + fragment_size, from_x : from_x + fragment_size]
        window = image[y : y + fragment_size, x : x + fragment_size]
        np.maximum(window, fragment, out=window)

    y, x = corners[-2:]
    mask = np.zeros(image.shape, bool)
    mask[y : y + height, x : x + width] = garment > 0
    np.copyto(image[y : y + height, x : x + width], garment, where=garment > 0)
    return image, mask


def compose(
    rng: np.random.Generator,
    garments: UInt8[np.ndarray, "n h w"],
    index: int,
    num_fragments: int = NUM_FRAGMENTS,
) -> tuple[UInt8[np.ndarray, "c c"], Bool[np.ndarray, "c c"]]:
    """The canvas of `garments[index]` among fragments of garments drawn from the rest."""
    others = rng.integers(0, len(garments) - 1, num_fragments)
    others += others >= index
    return cluttered_canvas(rng, garments[index], garments[others])
