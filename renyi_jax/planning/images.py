"""The images that a plan is made from, as pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging
from jaxtyping import Int, UInt8

from renyi_jax.common.progress import progress
from renyi_jax.data.dataset import BrokenImageError, Records
from renyi_jax.errors import UserError
from renyi_jax.images import crop_picture, read_picture
from renyi_jax.models.spec import ModelSpec

Pixels = UInt8[np.ndarray, "n height width 3"]


def read_records(
    records: Records, spec: ModelSpec, count: int, seed: int, crop_pct: float = 0.0
) -> tuple[Pixels, Int[np.ndarray, "n"]]:
    """Returns the pixels and the labels of `count` images of a split, or of all if it has fewer.

    One that cannot be decoded is told in the log, and another takes its place.

    Args:
        records: of the split.
        spec: says the size and the crop.
        count: images.
        seed: decides which.
        crop_pct: share of the shorter side that is seen; 0 is the model's.
    """
    order = np.random.default_rng(seed).permutation(len(records)).tolist()
    pixels, labels = [], []
    for index in progress(order[:count], "Reading images", unit="image"):
        found = None
        while found is None:
            try:
                found = records.picture(index)
            except BrokenImageError as error:
                logging.warning("%s Another one takes its place.", error)
                if len(order) <= count:
                    break
                index = order.pop()
        if found is not None:
            pixels.append(
                crop_picture(
                    found["image"], spec.image_size, crop_pct or spec.crop_pct, spec.interpolation
                )
            )
            labels.append(found["label"])
    return np.asarray(pixels, np.uint8), np.asarray(labels, np.int32)


def read_files(
    files: Sequence[Path], spec: ModelSpec, count: int, seed: int
) -> tuple[Pixels, list[UserError]]:
    """Returns the pixels of `count` of the files, or of all, and why others cannot be read."""
    order = np.random.default_rng(seed).permutation(len(files))[:count]
    pixels, refused = [], []
    for index in progress(sorted(order.tolist()), "Reading images", unit="image"):
        try:
            picture = read_picture(files[index])
            pixels.append(crop_picture(picture, spec.image_size, spec.crop_pct, spec.interpolation))
        except UserError as error:
            refused.append(error)
    return np.asarray(pixels, np.uint8), refused
