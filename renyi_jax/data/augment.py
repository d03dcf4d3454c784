"""Random changes of training examples on the host, one image at a time.

`TRANSFORMS` is the table: to add one, write a factory here and enter it under the field of
`config.data` that turns it on. They run in the order of the table.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from renyi_jax.data import clutter
from renyi_jax.data.dataset import DataConfig, Dataset
from renyi_jax.errors import UserError

Example = dict[str, Any]
Transform = Callable[[Example, np.random.Generator], Example]


class FreshClutter:
    """Composes a canvas that no other visit of the garment sees (`config.data.clutter` fragments).

    Takes the examples of `Garments`; their `index` gives way to `image`.
    """

    def __init__(self, dataset: Dataset, options: DataConfig):
        if options.clutter < 0:
            raise UserError(f"config.data.clutter={options.clutter}; expected 0 or more fragments.")
        self._garments = dataset.garments.images
        self._num_fragments = options.clutter

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        canvas, _ = clutter.compose(rng, self._garments, example["index"], self._num_fragments)
        rgb = np.broadcast_to(canvas[..., None], (*canvas.shape, 3))
        return {"image": rgb, "label": example["label"]}


class RandomFlip:
    """Mirrors every second image, left to right."""

    def __init__(self, dataset: Dataset, options: DataConfig):
        del dataset, options

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        return {**example, "image": example["image"][:, ::-1]} if rng.random() < 0.5 else example


TRANSFORMS: dict[str, Callable[[Dataset, DataConfig], Transform]] = {
    "fresh_clutter": FreshClutter,
    "flip": RandomFlip,
}


def train_transforms(dataset: Dataset, options: DataConfig) -> list[Transform]:
    """The transforms that `options` (`config.data`) turns on, in their order."""
    return [make(dataset, options) for field, make in TRANSFORMS.items() if options[field]]
