"""Fashion-MNIST from its published IDX files, and the part of it that the package ships.

Source: https://github.com/zalandoresearch/fashion-mnist (Zalando SE, MIT licence; Xiao, Rasul and
Vollgraf, arXiv 1708.07747). The licence lies beside the shipped files.
"""

import gzip
import math
import zlib

import numpy as np
from etils import epath
from jaxtyping import UInt8

from renyi_jax.errors import UserError

CLASS_NAMES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

# The published names of each split's images and labels.
FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}

_UNSIGNED_BYTE = 8


def embedded_dir() -> epath.Path:
    """Where the shipped part lies: 6,000 training and 1,000 test images, the same of each class."""
    return epath.resource_path("renyi_jax") / "assets" / "fashion_mnist"


def read_split(
    images: epath.PathLike, labels: epath.PathLike
) -> tuple[UInt8[np.ndarray, "n 28 28"], UInt8[np.ndarray, "n"]]:
    """Reads a split's images (grey levels) and labels (indices into `CLASS_NAMES`).

    Raises UserError for files that are not whole gzipped IDX, or do not belong together.
    """
    pixels, classes = read_idx(images), read_idx(labels)
    if pixels.ndim != 3 or pixels.shape[1:] != (28, 28):
        raise UserError(f"{images} holds an array of shape {pixels.shape}; expected (n, 28, 28).")
    if classes.shape != (len(pixels),):
        raise UserError(
            f"{labels} holds an array of shape {classes.shape}; expected ({len(pixels)},), one "
            f"label for each image of {images}."
        )
    if classes.size and classes.max() >= len(CLASS_NAMES):
        raise UserError(f"{labels} holds the label {classes.max()}; expected 0 to 9.")
    return pixels, classes


def read_idx(path: epath.PathLike) -> UInt8[np.ndarray, "..."]:
    """Reads a gzipped IDX file of unsigned bytes; raises UserError for anything else.

    The format: two zero bytes, the element type (8: unsigned byte), the number of dimensions, each
    dimension as a big-endian 32-bit integer, then the elements, last dimension fastest.
    """
    try:
        with epath.Path(path).open("rb") as file, gzip.open(file) as data:
            content = data.read()
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is not a whole gzip file: {error}.") from None

    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE:
        raise UserError(
            f"{path} is not an IDX file of unsigned bytes: it opens with {content[:4].hex(' ')!r}; "
            f"expected '00 00 08' and the number of dimensions."
        )
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise UserError(f"{path} is cut short: it ends within its header.")
    shape = tuple(np.frombuffer(content[4:header], ">u4").tolist())
    if len(content) - header != math.prod(shape):
        raise UserError(
            f"{path} should hold {math.prod(shape)} bytes after its header, for an array of shape "
            f"{shape}; it holds {len(content) - header}."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def write_idx(path: epath.PathLike, array: UInt8[np.ndarray, "..."]) -> None:
    """Writes what `read_idx` reads, without a time stamp."""
    header = bytes((0, 0, _UNSIGNED_BYTE, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    epath.Path(path).write_bytes(gzip.compress(header + array.tobytes(), mtime=0))
