"""The input pipeline: batches of numpy arrays, from Grain.

Every element is a function of its position in the run and of the seed alone. So the global batches
are the same on any number of processes and workers, and the state of an iterator is one number
(the next position), which restores the run on any other number of them too.
"""

import dataclasses
import functools
from typing import Any

import grain
import numpy as np
from absl import flags
from PIL import Image

from renyi_jax.data.augment import Example, Transform, train_transforms
from renyi_jax.data.dataset import DataConfig, Dataset, Records
from renyi_jax.errors import UserError

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
    num_epochs: int | None = None,
    num_workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator:
    """Shuffled, augmented training batches: `image` uint8 [b, h, w, 3], `label` int32 [b].

    The concatenation of all processes' rows, in their order, is the same global batch on any
    number of processes. Each epoch has its own order and its own augmentation, and leaves out
    what does not fill a batch. `get_state` and `set_state` (or `grain.checkpoint`) resume it.

    Args:
      dataset: of `load_dataset`.
      options: `config.data`; the fields of `augment.TRANSFORMS`, and those that they read.
      batch_size: of the global batch; each process gets its part.
      image_size: side, or (height, width), in pixels; other images are resized (bicubic).
      seed: decides order and augmentation.
      num_epochs: None never ends.
      num_workers: worker processes; 0 prepares batches in threads of this process.
      process_index: which part of each batch to give.
      process_count: the number of parts.

    Raises:
      UserError: if the split does not fill one batch, or the batch does not divide by the
        processes, or an option asks of the data set what it lacks.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"config.seed={seed} is out of range; expected 0 to 2**32 - 1.")
    _check_batch_size(batch_size, process_count)
    steps = steps_per_epoch(dataset, batch_size)
    if not steps:
        raise UserError(
            f"config.data.batch_size={batch_size} is more than the {len(dataset.train)} examples "
            f"of the training split."
        )
    source = dataset.garments if options.fresh_clutter else dataset.train
    transform = functools.partial(
        _augment, transforms=train_transforms(dataset, options), size=_height_width(image_size)
    )
    examples = grain.MapDataset.source(source).seed(seed).shuffle()[: steps * batch_size]
    examples = examples.repeat(num_epochs).random_map(transform)
    return _batches(examples, batch_size, num_workers, process_index, process_count)


def eval_loader(
    dataset: Dataset,
    *,
    batch_size: int,
    image_size: int | tuple[int, int],
    num_workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator:
    """The test split once, in order: `image`, `label`, `valid` bool [b], and where the data set
    has it `object_mask` bool [b, h, w].

    Every process gets the same number of batches of the same size. The last one is filled up with
    repetitions of the last example whose `valid` is False, so each example is valid exactly once
    over all processes.

    Args and errors: as for `train_loader`. Masks are resized to the nearest pixel.
    """
    _check_batch_size(batch_size, process_count)
    examples = grain.MapDataset.source(_FilledUp(dataset.test, batch_size))
    examples = examples.map(functools.partial(_resize, size=_height_width(image_size)))
    return _batches(examples, batch_size, num_workers, process_index, process_count)


def _check_batch_size(batch_size: int, process_count: int) -> None:
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"A batch size of {batch_size} cannot be shared by {process_count} processes; expected "
            f"a positive multiple of {process_count}."
        )


def _batches(
    examples: grain.MapDataset,
    batch_size: int,
    num_workers: int,
    process_index: int,
    process_count: int,
) -> grain.DatasetIterator:
    if num_workers and not flags.FLAGS.is_parsed():
        # Grain's workers take over the values of absl's flags; outside a command there are none.
        flags.FLAGS.mark_as_parsed()
    workers = grain.MultiprocessingOptions(num_workers=num_workers) if num_workers else None
    return iter(
        grain.experimental.ElasticIterator(
            _InProcessOrder(examples, batch_size, process_count),
            batch_size,
            grain.sharding.ShardOptions(process_index, process_count),
            read_options=_READ_OPTIONS,
            multiprocessing_options=workers,
        )
    )


class _InProcessOrder(grain.MapDataset):
    """Reorders each global batch so that a process' rows are consecutive ones of it.

    Grain deals elements out in turn: process p of P gets p, p + P, p + 2P, ...
    """

    def __init__(self, parent: grain.MapDataset, batch_size: int, process_count: int):
        super().__init__(parent)
        self._batch_size = batch_size
        self._process_count = process_count

    def __len__(self) -> int:
        return len(self._parent)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        batch, dealt = divmod(index, self._batch_size)
        row, process = divmod(dealt, self._process_count)
        rows = self._batch_size // self._process_count
        return self._parent[batch * self._batch_size + process * rows + row]


@dataclasses.dataclass(frozen=True)
class _FilledUp:
    """A split whose length is a multiple of the batch size; `valid` marks its own examples."""

    examples: Records
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size) * self.batch_size

    def __getitem__(self, index: int) -> Example:
        last = len(self.examples) - 1
        return {**self.examples[min(index, last)], "valid": np.bool_(index <= last)}


def _augment(
    example: Example,
    rng: np.random.Generator,
    *,
    transforms: list[Transform],
    size: tuple[int, int],
) -> Example:
    for transform in transforms:
        example = transform(example, rng)
    return _resize(example, size)


def _resize(example: Example, size: tuple[int, int]) -> Example:
    """Brings image and mask to `size` (height, width), where they have another."""
    resized = {
        key: _resized(example[key], size, resampling)
        for key, resampling in _RESAMPLING.items()
        if key in example and example[key].shape[:2] != size
    }
    return {**example, **resized}


_RESAMPLING = {"image": Image.Resampling.BICUBIC, "object_mask": Image.Resampling.NEAREST}


def _resized(array: np.ndarray, size: tuple[int, int], resampling: Image.Resampling) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(array))
    return np.asarray(image.resize((size[1], size[0]), resampling))


def _height_width(image_size: int | tuple[int, int]) -> tuple[int, int]:
    return (image_size, image_size) if isinstance(image_size, int) else image_size
