"""The input pipeline: batches of numpy arrays, from Grain.

Every element is a function of its position in the run and of the seed alone. So the global batches
are the same on any number of processes and workers, and the state of an iterator is one number
(the next position), which restores the run on any other number of them too.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import grain
import numpy as np
from absl import flags
from PIL import Image

from renyi_jax.data.augment import Example, Target, Transform, train_transforms
from renyi_jax.data.broken import CountedBroken, WholeImages
from renyi_jax.data.dataset import DataConfig, Dataset, Records
from renyi_jax.data.workers import Derived, EndingWithParent, WorkerBatches, affordable_workers
from renyi_jax.errors import UserError
from renyi_jax.images import Size, center_crop, crop_picture

# Elements here are whole batches: two threads keep a few of them ready while the device computes.
_READ_OPTIONS = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)


def steps_per_epoch(dataset: Dataset, batch_size: int) -> int:
    """Whole batches in the training split; what remains of an epoch's order is left out."""
    return len(dataset.train) // batch_size


def train_loader(
    dataset: Dataset,
    options: DataConfig,
    *,
    batch_size: int,
    image_size: int | tuple[int, int],
    seed: int,
    mean: Sequence[float] = (0.5, 0.5, 0.5),
    std: Sequence[float] = (0.5, 0.5, 0.5),
    num_epochs: int | None = None,
    num_workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator:
    """Yields shuffled, augmented batches: `image` uint8 [b, h, w, 3], `label` int32 [b], `index`
    int64 [b].

    The rows of all processes together are the same global batch on any number of processes. Each
    epoch has its own order and augmentation, and leaves out what does not fill a batch. `get_state`
    and `set_state` resume it. The next image replaces one that cannot be decoded (`WholeImages`).

    Args:
        options: `config.data`: the fields of `augment.TRANSFORMS`, and those that they read.
        batch_size: of the global batch; each process gets its part.
        mean: of pixels in [0, 1]; the colour that augmentation fills with, and `std` its noise.
        num_epochs: None never ends.
        num_workers: worker processes; 0 prepares batches in threads of this process.

    Raises UserError: the split fills no batch, the batch does not divide by the processes, or the
    data set lacks what an option asks for.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"config.seed={seed} is out of range; expected 0 to 2**32 - 1.")
    _check_batch_size(batch_size, process_count)
    if not len(dataset.train):
        raise UserError(f"{dataset.name} has no images to train on (config.data.train_split).")
    steps = steps_per_epoch(dataset, batch_size)
    if not steps:
        raise UserError(
            f"config.data.batch_size={batch_size} is more than the {len(dataset.train)} examples "
            f"of the training split."
        )
    source = dataset.garments if options.fresh_clutter else _Pictures(dataset.train)
    target = Target(_height_width(image_size), tuple(mean), tuple(std))
    transforms = train_transforms(dataset, options, target)
    examples = grain.MapDataset.source(source).seed(seed).shuffle()[: steps * batch_size]
    examples = WholeImages(examples).repeat(num_epochs)
    examples = examples.random_map(functools.partial(_augment, transforms=transforms))
    return CountedBroken(
        _batches(examples, batch_size, image_size, num_workers, process_index, process_count),
        dataset.train,
        "Another one takes its place in training.",
    )


def eval_loader(
    dataset: Dataset,
    *,
    batch_size: int,
    image_size: int | tuple[int, int],
    crop_pct: float = 1.0,
    interpolation: str = "bicubic",
    num_workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator:
    """Yields the test split once, in order: `image`, `label`, `index`, `valid` bool [b], and where
    the data set has it `object_mask` bool [b, h, w].

    All processes get as many batches of the same size. The last one is filled up with examples that
    are not `valid`, so that each example is valid once; one that cannot be decoded is not valid
    either. Args and errors as in `train_loader`.

    Args:
        crop_pct: share of the shorter side that the crop takes from the middle of the resized
            image.
        interpolation: "bicubic" or "bilinear"; masks take the nearest pixel.
    """
    _check_batch_size(batch_size, process_count)
    examples = WholeImages(grain.MapDataset.source(_FilledUp(_Pictures(dataset.test), batch_size)))
    options = {"crop_pct": crop_pct, "interpolation": interpolation}
    examples = examples.map(functools.partial(_crop, size=_height_width(image_size), **options))
    return CountedBroken(
        _batches(examples, batch_size, image_size, num_workers, process_index, process_count),
        dataset.test,
        "It does not count in the evaluation.",
    )


def _check_batch_size(batch_size: int, process_count: int) -> None:
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"A batch size of {batch_size} cannot be shared by {process_count} processes; expected "
            f"a positive multiple of {process_count}."
        )


def _batches(
    examples: grain.MapDataset,
    batch_size: int,
    image_size: int | tuple[int, int],
    num_workers: int,
    process_index: int,
    process_count: int,
) -> grain.DatasetIterator:
    batch_bytes = batch_size // process_count * 3 * math.prod(_height_width(image_size))
    num_workers = affordable_workers(num_workers, batch_bytes)
    if num_workers and not flags.FLAGS.is_parsed():
        # Grain's workers take over the values of absl's flags; outside a command there are none.
        flags.FLAGS.mark_as_parsed()
    workers = grain.MultiprocessingOptions(num_workers=num_workers) if num_workers else None
    batches = iter(
        grain.experimental.ElasticIterator(
            EndingWithParent(_InProcessOrder(examples, batch_size, process_count)),
            batch_size,
            grain.sharding.ShardOptions(process_index, process_count),
            read_options=_READ_OPTIONS,
            multiprocessing_options=workers,
        )
    )
    return WorkerBatches(batches) if workers else batches


class _InProcessOrder(Derived):
    """Reorders each global batch so that a process' rows are consecutive ones of it.

    Grain deals elements out in turn: process p of P gets p, p + P, p + 2P, ...
    """

    def __init__(self, parent: grain.MapDataset, batch_size: int, process_count: int):
        super().__init__(parent)
        self._batch_size = batch_size
        self._process_count = process_count

    def element(self, index: int) -> Any:
        batch, dealt = divmod(index, self._batch_size)
        row, process = divmod(dealt, self._process_count)
        rows = self._batch_size // self._process_count
        return self._parent[batch * self._batch_size + process * rows + row]


@dataclasses.dataclass(frozen=True)
class _Pictures:
    """A split whose images are Pillow's, as transforms take them."""

    examples: Records

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return {**self.examples.picture(index), "index": np.int64(index)}


@dataclasses.dataclass(frozen=True)
class _FilledUp:
    """A split whose length is a multiple of the batch size; `valid` marks its own examples."""

    examples: _Pictures
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size) * self.batch_size

    def __getitem__(self, index: int) -> Example:
        last = len(self.examples) - 1
        return {**self.examples[min(index, last)], "valid": np.bool_(index <= last)}


def _augment(example: Example, rng: np.random.Generator, *, transforms: list[Transform]) -> Example:
    for transform in transforms:
        example = transform(example, rng)
    return {**example, "image": np.asarray(example["image"])}


def _crop(example: Example, size: Size, crop_pct: float, interpolation: str) -> Example:
    """Brings image and mask to `size`."""
    image = crop_picture(example["image"], size, crop_pct, interpolation)
    arrays: dict[str, Any] = {"image": image}
    arrays["valid"] = example["valid"] & (example["broken"] < 0)
    if "object_mask" in example:
        nearest = Image.Resampling.NEAREST
        mask = center_crop(example["object_mask"], size, crop_pct, nearest)
        arrays["object_mask"] = np.asarray(mask) > 0
    return {**example, **arrays}


def _height_width(image_size: int | tuple[int, int]) -> Size:
    return (image_size, image_size) if isinstance(image_size, int) else image_size
