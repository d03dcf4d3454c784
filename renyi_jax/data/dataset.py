"""A data set: its splits with random access, decoded, and what is known about them."""

import contextlib
import copy
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Int32
from PIL import Image

from renyi_jax.common.files import path_of
from renyi_jax.errors import UserError
from renyi_jax.images.reading import decode, decode_levels

# `config.data`, an ml_collections.ConfigDict: its attributes have no types that could be checked.
DataConfig = Any


def manual_folder(config: DataConfig) -> epath.Path | None:
    """Returns `config.data.manual_dir`, if given; raises UserError if it is no folder."""
    if not config.manual_dir:
        return None
    folder = path_of("config.data.manual_dir", config.manual_dir)
    with contextlib.suppress(OSError):  # as of a name that is too long
        if folder.is_dir():
            return folder
    raise UserError(f"config.data.manual_dir={config.manual_dir} is not a folder.")


class BrokenImageError(UserError):
    """An image that cannot be decoded; `record_id` says which, and `index` where in its split."""

    def __init__(self, record_id: str, reason: str, index: int):
        super().__init__(record_id, reason, index)
        self.record_id = record_id
        self.reason = reason
        self.index = index

    def __str__(self) -> str:
        return f"The image {self.record_id} cannot be decoded: {self.reason}."


@dataclasses.dataclass(eq=False)
class Records:
    """The examples of a split, decoded on access.

    Each is a dict of `image` uint8 [h, w, 3] (grey levels are repeated), `label` int32 and, where
    the data set has one, `object_mask` bool [h, w]. An image that cannot be decoded raises
    BrokenImageError.
    """

    source: Sequence[dict[str, Any]]  # random access; `image` and the mask are encoded
    split: str  # what they are called in messages
    object_mask: str | None = None  # the feature that is non-zero on the labelled object
    edit: Callable[[Image.Image], Image.Image] | None = None  # applied to each decoded image
    # the names of the images that loaders found broken so far, by their indices
    broken: dict[int, str] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self.picture(index)
        arrays = {"image": np.asarray(example["image"]), "label": example["label"]}
        if self.object_mask:
            arrays["object_mask"] = np.asarray(example["object_mask"]) > 0
        return arrays

    def picture(self, index: int) -> dict[str, Any]:
        """The example with Pillow images: `image` in mode RGB, `object_mask` in mode L."""
        record: dict[str, Any] = {}
        try:
            record = self.source[index]
            image = decode(record["image"])
        except (UserError, RuntimeError) as error:  # ArrayRecord's of a damaged record
            raise BrokenImageError(self._record_id(record, index), str(error), index) from error
        if self.edit:
            image = self.edit(image)
        example = {"image": image, "label": np.int32(record["label"])}
        if self.object_mask:
            example["object_mask"] = Image.fromarray(decode_levels(record[self.object_mask]))
        return example

    def labels(self) -> Int32[np.ndarray, "n"]:
        """The labels of all examples, without decoding an image."""
        return np.array([self.source[i]["label"] for i in range(len(self))], np.int32)

    def relabelled(self, labels: Sequence[int]) -> "Records":
        """The same examples, with another label in the place of each."""
        records = copy.copy(self)
        records.source = _Relabelled(self.source, labels)
        return records

    def outline(self) -> Iterator[str]:
        """What tells splits apart without reading their examples, for `fingerprint`."""
        yield str(len(self))

    def _record_id(self, record: dict[str, Any], index: int) -> str:
        for feature in ("id", "file_name"):
            if feature in record:
                return f"{record[feature].decode()!r} (record {index} of {self.split})"
        return f"of record {index} of {self.split}"


@dataclasses.dataclass(frozen=True)
class _Relabelled(Sequence):
    source: Sequence[dict[str, Any]]
    labels: Sequence[int]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: Any) -> dict[str, Any]:
        record = self.source[index]
        return {**record, "label": self.labels[record["label"]]}


def fingerprint(records: Records, sampled: int = 10_000) -> str:
    """Returns a SHA-256 of what a split holds, whatever its files are called and wherever they lie.

    It covers the number of examples, and the encoded features and labels of up to `sampled` of
    them, evenly spaced.
    """
    source = records.source
    digest = hashlib.sha256("\n".join(records.outline()).encode())
    for index in range(0, len(source), -(-len(source) // sampled) or 1):
        try:
            record = source[index]
        except (UserError, RuntimeError) as error:
            record = {"unreadable": str(error).encode()}
        for name, value in sorted(record.items()):
            content = value if isinstance(value, bytes) else np.asarray(value).tobytes()
            digest.update(f"\n{name} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set as the loaders take it."""

    name: str  # as in the registry
    class_names: tuple[str, ...]  # in the order of the labels
    # (height, width, 3) of the stored images, None where they differ
    image_shape: tuple[int, int, int] | None
    has_object_masks: bool  # whether test examples carry `object_mask`
    train: Records  # the training split, without masks; empty where a folder has none
    test: Records
    # reads the bare garments of the training split, with `images`, `labels` and random access; None
    # where there are none
    read_garments: Callable[[], Any] | None = None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @functools.cached_property
    def garments(self) -> Any:
        """The garments of the training split, read at first use; raises UserError if there are
        none."""
        if self.read_garments is None:
            raise UserError(
                f"config.data.fresh_clutter=True composes canvases of bare garments; {self.name} "
                f"has none. Set config.data.fresh_clutter=False."
            )
        return self.read_garments()
