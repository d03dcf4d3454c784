"""The pictures that a user hands over: files, folders, Pillow images, arrays, of any kind."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from renyi_jax.crop import Size, center_crop
from renyi_jax.errors import UserError, nearest

Source = str | Path | Image.Image | np.ndarray | jax.Array

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
"""Of the files that are taken from a folder; a file that is named may be called anything."""

MAX_PIXELS = 500_000_000
"""Of one image: 20,000 x 20,000 pixels, and 2 GB while it is decoded."""

# More than any model needs, and far fewer than a JPEG of the largest size has.
_DRAFT = (4096, 4096)


def find_pictures(source: str | Path) -> list[Path]:
    """The file that `source` names, or the pictures in a folder and its folders, by name.

    Raises:
        UserError: there is nothing of this name, or no picture in the folder.
    """
    path = Path(source)
    if not path.is_dir():
        _check_exists(path)
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not found:
        raise UserError(f"There is no picture in the folder {path} ({', '.join(SUFFIXES)}).")
    return found


def read_picture(source: Source) -> Image.Image:
    """Decodes a picture to RGB, as a viewer would show it but for transparency.

    16 bits become 8, of an animation the first frame is taken, a photograph is turned upright by
    its EXIF tag, and transparency is dropped, as it is in training.

    Args:
        source: a file, a Pillow image, or an array of uint8 or uint16: `[h, w]`, or `[h, w, c]`
            with 1, 3 (RGB) or 4 (RGBA) channels.

    Raises:
        UserError: it cannot be read, is no picture, or has more than `MAX_PIXELS`.
    """
    if isinstance(source, np.ndarray | jax.Array):
        return _from_array(np.asarray(source))
    name = "The image" if isinstance(source, Image.Image) else str(source)
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(source, name)
        return _decode(Path(source))
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{name} is no picture: {_describe(Path(name))}.") from None
    except Exception as error:  # the decoders of damaged files fail in many ways
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"{name} cannot be read: {reason}.") from error


def crop_picture(
    image: Image.Image, size: Size, crop_pct: float
) -> UInt8[np.ndarray, "height width 3"]:
    """The middle of a picture in the size that a model takes, as in evaluation.

    Args:
        image: RGB, of any shape.
        size: (height, width) of the result.
        crop_pct: share of the resized image that is taken.
    """
    # The ends of a long strip are cut off before it is resized, when it would be huge.
    height, width = size
    longest = math.ceil(min(image.size) * (2 + 2 * max(height / width, width / height) / crop_pct))
    if max(image.size) > longest:
        kept = [min(side, longest + (side - longest) % 2) for side in image.size]
        left, top = ((side - part) // 2 for side, part in zip(image.size, kept))
        image = image.crop((left, top, left + kept[0], top + kept[1]))
    return np.asarray(center_crop(image, size, crop_pct))


def _check_exists(path: Path) -> None:
    if path.is_file():
        return
    if path.is_dir():
        raise UserError(f"{path} is a folder; expected a picture.")
    if path.is_symlink():
        raise UserError(f"{path} is a link to {path.readlink()}, and there is no such file.")
    siblings = [sibling.name for sibling in path.parent.glob("*")]
    raise UserError(f"There is no file {path}.{nearest(path.name, siblings)}")


def _decode(path: Path) -> Image.Image:
    _check_exists(path)
    with _any_size(), Image.open(path) as image:
        if math.prod(image.size) > MAX_PIXELS:
            raise UserError(
                f"{path} has {image.width:,} x {image.height:,} pixels; expected at most"
                f" {MAX_PIXELS:,} in all. Make it smaller, or cut it."
            )
        if min(image.size) > max(_DRAFT):
            image.draft("RGB", _DRAFT)  # a JPEG this large is decoded at a fraction of its size
        image.load()
        return _to_rgb(image, str(path))


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Lets Pillow open what it takes for a bomb: `MAX_PIXELS` is the limit here."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I"):
        image = _from_levels(np.asarray(image), name)
    elif image.mode == "F":
        raise UserError(f"{name} has floating-point pixels; expected 8 or 16 bits per channel.")
    elif image.mode == "P":
        image = image.convert("RGBA")  # a palette may have transparent colours
    return ImageOps.exif_transpose(image).convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        raise UserError(
            f"An array of shape {array.shape} is no picture; expected (height, width), or"
            " (height, width, channels) with 1, 3 or 4 channels. Give a batch as a list."
        )
    if array.dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"An array of {array.dtype} is no picture; expected uint8, from 0 to 255, or uint16."
        )
    return _from_levels(array if channels > 1 else array.reshape(array.shape[:2]), "The array")


def _from_levels(levels: np.ndarray, name: str) -> Image.Image:
    """8 bits of whole numbers, of which those beyond 8 bits are taken to have 16."""
    if levels.dtype != np.uint8:
        if levels.min() < 0 or levels.max() > 65535:
            raise UserError(f"{name} has more than 16 bits per channel; expected 8 or 16.")
        levels = np.round(levels / 257).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(levels)).convert("RGB")


def _describe(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(16)
    return f"it starts with {start!r}" if start else "it is empty"
