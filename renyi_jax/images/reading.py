"""Encoded images to upright RGB."""

import io
import math
import stat
from pathlib import Path

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from renyi_jax.errors import UserError, nearest
from renyi_jax.images.files import printable

Source = str | Path | bytes | Image.Image | np.ndarray | jax.Array

# Pillow's names. Of what else it opens, some formats run programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")

MAX_PIXELS = 500_000_000  # of one image: 20,000 x 20,000 pixels, and 2 GB while it is decoded

MAX_ASPECT = 20_000  # the longer side over the shorter one

# What has more pixels is made smaller by a whole factor as it is decoded: more than any model
# needs. It is where Pillow begins to warn of an image's size.
_LARGE = 89_478_485

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each value of the EXIF tag Orientation but 1."""

_ORIENTATION = 0x0112
_PNG_START = b"\x89PNG\r\n\x1a\n"


def read_picture(source: Source) -> Image.Image:
    """Decodes an image to RGB, upright by its EXIF tag, without transparency.

    16 bits become 8; of an animation the first frame is taken.

    Args:
        source: a file, its content, a Pillow image, or an array of uint8 or uint16: `[h, w]`, or
            `[h, w, c]` with 1, 3 (RGB) or 4 (RGBA) channels.

    Raises UserError: it cannot be read, is no image, or has more than `MAX_PIXELS`.
    """
    if isinstance(source, np.ndarray | jax.Array):
        return _from_array(np.asarray(source))
    name = printable(source) if isinstance(source, str | Path) else "The image"
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(source)
        return decode(source if isinstance(source, bytes) else read_file(source))
    except Exception as error:
        said = f"{name} cannot be read: {_reason(error)}"
        raise UserError(said if said.endswith("?") else f"{said}.") from error


def decode(encoded: bytes) -> Image.Image:
    """Decodes the content of a file as `read_picture`; its UserError has the reason alone."""
    try:
        return _load(encoded)
    except UserError:
        raise
    except Exception as error:  # the decoders of damaged files fail in many ways
        bare = _without_texts(encoded)
        if bare != encoded:
            return decode(bare)
        raise UserError(_reason(error)) from error


def decode_levels(encoded: bytes) -> UInt8[np.ndarray, "h w"]:
    """Decodes the grey levels of a mask, as they are stored."""
    with Image.open(io.BytesIO(encoded), formats=["PNG"]) as image:
        return np.asarray(image.convert("L"))


def read_file(path: str | Path) -> bytes:
    """Reads a regular file; its UserError has the reason alone."""
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            target = printable(path.readlink())
            raise UserError(f"it is a link to {target}, and there is no such file") from None
        siblings = [printable(sibling.name) for sibling in path.parent.glob("*")]
        raise UserError(f"there is no such file.{nearest(path.name, siblings)}") from None
    except OSError as error:
        raise UserError(_reason(error)) from error
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
    raise UserError(f"it is {kind}; expected an image")


def _load(encoded: bytes) -> Image.Image:
    image = _open(encoded)
    pixels = math.prod(image.size)
    if pixels > MAX_PIXELS or max(image.size) > MAX_ASPECT * min(image.size):
        raise UserError(
            f"it has {image.width:,} x {image.height:,} pixels; expected at most {MAX_PIXELS:,} in"
            f" all, and no side {MAX_ASPECT:,} times as long as the other"
        )
    factor = 1
    while pixels > _LARGE * factor**2:
        factor *= 2
    if factor > 1:
        image.draft("RGB", (image.width // factor, image.height // factor))  # acts on JPEG alone
    image.load()
    image = _to_rgb(image)
    return image.reduce(factor) if math.prod(image.size) > _LARGE else image


def _open(encoded: bytes) -> Image.Image:
    """Reads the header by the first decoder that knows the content's first bytes.

    `Image.open` would refuse large images by a limit that holds for the whole process.
    """
    if encoded[4:8] == b"ftyp" and not {b"avif", b"avis"} & set(_brands(encoded)):
        raise UserError("it is HEIC or a video, which are not decoded; convert it to JPEG or PNG")
    Image.init()
    for name in _FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))
        if factory and accepts and accepts(encoded[:16]) is True:
            return factory(io.BytesIO(encoded), "")
    if not encoded:
        raise UserError("it is empty")
    raise UserError(f"it is no image: it starts with {encoded[:16]!r}")


def _brands(encoded: bytes) -> list[bytes]:
    """What a file that opens with the box "ftyp" says it is compatible with."""
    size = min(int.from_bytes(encoded[:4], "big"), 256)
    return [encoded[place : place + 4] for place in range(8, size, 4)]


def _to_rgb(image: Image.Image) -> Image.Image:
    method = _UPRIGHT.get(_orientation(image))
    if image.mode.startswith("I"):
        rgb = _from_levels(np.asarray(image))
    elif image.mode == "F":
        raise UserError("it has floating-point pixels; expected 8 or 16 bits per channel")
    else:
        # A palette may have transparent colours.
        rgb = image.convert("RGBA") if image.mode in ("P", "PA") else image
        rgb = rgb if rgb.mode == "RGB" else rgb.convert("RGB")
    return rgb if method is None else rgb.transpose(method)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged block of EXIF says nothing of the pixels
        return 1


def _from_array(array: np.ndarray) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        raise UserError(
            f"An array of shape {array.shape} is no image; expected (height, width), or"
            " (height, width, channels) with 1, 3 or 4 channels. Give a batch as a list."
        )
    if array.dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"An array of {array.dtype} is no image; expected uint8, from 0 to 255, or uint16."
        )
    return _from_levels(array if channels > 1 else array.reshape(array.shape[:2]))


def _from_levels(levels: np.ndarray) -> Image.Image:
    """8 bits of whole numbers, of which those beyond 8 bits are taken to have 16."""
    if levels.dtype != np.uint8:
        if levels.min() < 0 or levels.max() > 65535:
            raise UserError("it has more than 16 bits per channel; expected 8 or 16")
        levels = ((levels.astype(np.int32) + 128) // 257).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(levels)).convert("RGB")


def _without_texts(encoded: bytes) -> bytes:
    """A PNG file without what says nothing of its pixels, such as texts beyond Pillow's limits;
    another file as it is."""
    if not encoded.startswith(_PNG_START):
        return encoded
    kept, place = [_PNG_START], len(_PNG_START)
    while place < len(encoded):
        end = place + 12 + int.from_bytes(encoded[place : place + 4], "big")
        name = encoded[place + 4 : place + 8]
        if name[:1].isupper() or name in (b"tRNS", b"eXIf"):  # critical ones have a capital
            kept.append(encoded[place:end])
        place = end
    return b"".join(kept)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.strip().removesuffix(".")
