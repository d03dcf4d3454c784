"""What is in a data set, what training sees of it, and how fast it comes."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from renyi_jax.common.files import writing
from renyi_jax.data.dataset import Dataset, Records
from renyi_jax.errors import UserError, some

Batch = dict[str, np.ndarray]


def describe_split(records: Records, num_classes: int) -> dict[str, Any]:
    """Number of examples, and of examples of each class, in the order of the labels."""
    counts = np.bincount(records.labels(), minlength=num_classes)
    return {"examples": len(records), "class_counts": counts.tolist()}


def summarize(dataset: Dataset, splits: dict[str, dict[str, Any]]) -> str:
    """The splits of `describe_split` in lines for people."""
    lines = [f"{dataset.name}: {dataset.num_classes} classes"]
    for split, found in splits.items():
        counts = np.array(found["class_counts"])
        few, many = int(counts.argmin()), int(counts.argmax())
        lines.append(
            f"  {split}: {found['examples']} examples; from {counts[few]} of "
            f"{dataset.class_names[few]!r} to {counts[many]} of {dataset.class_names[many]!r}"
        )
        if empty := [name for name, count in zip(dataset.class_names, counts) if not count]:
            lines.append(f"    without examples: {some(empty)}")
    return "\n".join(lines)


def contact_sheet(
    images: UInt8[np.ndarray, "n h w 3"], columns: int = 8
) -> UInt8[np.ndarray, "sheet_h sheet_w 3"]:
    """The images side by side, row by row, with white between them."""
    gap = 2
    rows = -(-len(images) // columns)
    padding = ((0, rows * columns - len(images)), (gap, 0), (gap, 0), (0, 0))
    cells = np.pad(images, padding, constant_values=255)
    cells = cells.reshape(rows, columns, *cells.shape[1:])
    sheet = np.concatenate(np.concatenate(cells, axis=1), axis=1)
    return np.pad(sheet, ((0, gap), (0, gap), (0, 0)), constant_values=255)


def write_contact_sheet(path: Any, batches: list[Batch]) -> None:
    """A PNG of the first 64 images of some batches."""
    images = np.concatenate([batch["image"] for batch in batches])[:64]
    with writing(path) as file:
        Image.fromarray(contact_sheet(images)).save(file, "PNG")


def images_per_second(batches: Iterator[Batch], num_batches: int, warmup: int = 2) -> float:
    """Times a loader alone, without its first batches; raises UserError if it ends too early."""
    if len(list(itertools.islice(batches, warmup))) < warmup:
        raise UserError("The training split has too few batches to measure on.")
    start, images = time.perf_counter(), 0
    for batch in itertools.islice(batches, num_batches):
        images += len(batch["label"])
    return images / (time.perf_counter() - start)


def waiting_share(batches: Iterator[Batch], step: Callable[[Batch], None], num_steps: int) -> float:
    """Returns the share of the time of `num_steps` that waits for batches, after one that is not
    timed."""
    step(next(batches))
    waited, start = 0.0, time.perf_counter()
    for _ in range(num_steps):
        before = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - before
        step(batch)
    return waited / (time.perf_counter() - start)
