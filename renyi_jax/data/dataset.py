"""A prepared data set: its splits with random access, decoded, and what is known about them."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath
from jaxtyping import Int32, UInt8
from PIL import Image
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from renyi_jax.data.prepared import FILE_FORMAT, check_random_access
from renyi_jax.data.registry import DatasetEntry, dataset_entry
from renyi_jax.errors import UserError, nearest
from renyi_jax.images.reading import decode, decode_levels

DEFAULT_DATA_DIR = "~/.cache/renyi_jax/data"

# `config.data`, an ml_collections.ConfigDict: its attributes have no types that could be checked.
DataConfig = Any


class BrokenImageError(UserError):
    """An image that cannot be decoded; `record_id` says which."""

    def __init__(self, record_id: str, reason: str):
        super().__init__(record_id, reason)
        self.record_id = record_id
        self.reason = reason

    def __str__(self) -> str:
        return f"The image {self.record_id} cannot be decoded: {self.reason}."


class Records:
    """The examples of a split, decoded on access.

    Each is a dict of `image` uint8 [h, w, 3] (grey levels are repeated), `label` int32 and, where
    the data set has one, `object_mask` bool [h, w].

    Raises, on access:
      BrokenImageError: for an image that cannot be decoded.
    """

    def __init__(
        self, source: Any, split: str, object_mask: str | None = None, banner_rows: int = 0
    ):
        self.source = source
        self._split = split
        self._object_mask = object_mask
        self._banner_rows = banner_rows

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self.picture(index)
        arrays = {"image": np.asarray(example["image"]), "label": example["label"]}
        if self._object_mask:
            arrays["object_mask"] = np.asarray(example["object_mask"]) > 0
        return arrays

    def picture(self, index: int) -> dict[str, Any]:
        """The example with Pillow images: `image` in mode RGB, `object_mask` in mode L."""
        record = self.source[index]
        try:
            image = decode(record["image"])
        except UserError as error:
            raise BrokenImageError(self._record_id(record, index), str(error)) from error
        if self._banner_rows:
            image = image.crop((0, 0, image.width, image.height - self._banner_rows))
        example = {"image": image, "label": np.int32(record["label"])}
        if self._object_mask:
            example["object_mask"] = Image.fromarray(decode_levels(record[self._object_mask]))
        return example

    def labels(self) -> Int32[np.ndarray, "n"]:
        """The labels of all examples, without decoding an image."""
        return np.array([self.source[i]["label"] for i in range(len(self))], np.int32)

    def _record_id(self, record: dict[str, Any], index: int) -> str:
        for feature in ("id", "file_name"):
            if feature in record:
                return f"{record[feature].decode()!r} (record {index} of {self._split})"
        return f"of record {index} of {self._split}"


_SAMPLED = 10_000
"""Examples whose content a fingerprint holds."""


def fingerprint(records: Records) -> str:
    """Digests what a split holds, whatever its files are called and wherever they lie.

    Returns:
      A hexadecimal SHA-256 of the number of examples and of the encoded features, labels among
      them, of all examples in their order; where there are more than 10,000, of so many of them,
      evenly spaced.
    """
    source = records.source
    digest = hashlib.sha256(str(len(source)).encode())
    for index in range(0, len(source), -(-len(source) // _SAMPLED) or 1):
        for name, value in sorted(source[index].items()):
            content = value if isinstance(value, bytes) else np.asarray(value).tobytes()
            digest.update(f"\n{name} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Garments:
    """The bare garments of a split in memory, for canvases composed anew at each visit."""

    images: UInt8[np.ndarray, "n h w"]
    labels: Int32[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"index": np.int64(index), "label": self.labels[index]}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set as the loaders take it.

    Attributes:
      name: as in the registry.
      class_names: in the order of the labels.
      image_shape: (height, width, 3) of the stored images, None where they differ.
      has_object_masks: whether test examples carry `object_mask`.
      train: the training split, without masks.
      test: the test split.
      read_garments: reads the garments of the training split; None where there are none.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None
    has_object_masks: bool
    train: Records
    test: Records
    read_garments: Callable[[], Garments] | None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @functools.cached_property
    def garments(self) -> Garments:
        """The garments of the training split, read at the first use.

        Raises:
          UserError: if this data set has none.
        """
        if self.read_garments is None:
            raise UserError(
                f"config.data.fresh_clutter=True composes canvases of bare garments; {self.name} "
                f"has none. Set config.data.fresh_clutter=False."
            )
        return self.read_garments()


def load_dataset(data_config: DataConfig) -> Dataset:
    """Opens the data set that `config.data` describes, and builds it first if it is not prepared.

    The prepared data lie under `data_dir`, in TFDS' layout. They are built beside and renamed when
    whole, so an interrupted build leaves nothing that looks prepared.

    Args:
      data_config: `config.data`; its fields `name`, `builder_config`, `data_dir`, `manual_dir`,
        `train_split` and `test_split` (TFDS' split syntax, "train[:90%]" included) are read.

    Raises:
      UserError: for an unknown data set, builder config or split, and where data are missing.
    """
    entry = dataset_entry(data_config.name)
    builder = _prepared_builder(entry, data_config)
    features: Any = builder.info.features  # a FeaturesDict; TFDS types it as its base
    shape = features["image"].shape
    banner_rows = getattr(features["image"], "banner_rows", 0)
    train = _source(builder, data_config.train_split, "train_split")
    test = _source(builder, data_config.test_split, "test_split")
    return Dataset(
        name=data_config.name,
        class_names=tuple(features["label"].names),
        image_shape=None if None in shape[:2] else (*shape[:2], 3),
        has_object_masks=entry.object_mask is not None,
        train=Records(train, data_config.train_split, banner_rows=banner_rows),
        test=Records(test, data_config.test_split, entry.object_mask, banner_rows),
        read_garments=(
            functools.partial(_read_garments, train, entry.garment) if entry.garment else None
        ),
    )


def count_classes(data_config: DataConfig) -> int:
    """The number of classes, for which the data need not be there if the name tells it.

    Args:
      data_config: as for `load_dataset`.

    Raises:
      UserError: for an unknown data set or builder config, or a folder of images that is not there.
    """
    features: Any = _make_builder(dataset_entry(data_config.name), data_config).info.features
    return features["label"].num_classes


def _make_builder(entry: DatasetEntry, data_config: DataConfig) -> tfds.core.DatasetBuilder:
    data_dir, manual_dir = _folders(data_config)
    return entry.builder(config=_builder_config(entry, data_config, manual_dir), data_dir=data_dir)


def _folders(data_config: DataConfig) -> tuple[epath.Path, epath.Path | None]:
    """`data_dir` and `manual_dir`."""
    data_dir = epath.Path(data_config.data_dir or DEFAULT_DATA_DIR).expanduser()
    if not data_config.manual_dir:
        return data_dir, None
    manual_dir = epath.Path(data_config.manual_dir).expanduser()
    if not manual_dir.is_dir():
        raise UserError(f"config.data.manual_dir={data_config.manual_dir} is not a folder.")
    return data_dir, manual_dir


def _prepared_builder(entry: DatasetEntry, data_config: DataConfig) -> tfds.core.DatasetBuilder:
    data_dir, manual_dir = _folders(data_config)
    make_builder = functools.partial(_make_builder, entry, data_config)
    builder = make_builder()
    if not builder.is_prepared():
        logging.info("Preparing %s in %s.", builder.info.full_name, data_dir)
        try:
            builder.download_and_prepare(
                file_format=FILE_FORMAT,
                download_config=tfds.download.DownloadConfig(
                    manual_dir=manual_dir, try_download_gcs=False
                ),
            )
        except (*_BUILD_ERRORS, UserError) as error:
            # Another process may have been first to rename its build into place.
            if not make_builder().is_prepared():
                raise UserError(
                    f"Could not prepare {builder.info.full_name} in {data_dir}: {error}\n"
                    f"{builder.MANUAL_DOWNLOAD_INSTRUCTIONS or ''}"
                ) from error
        builder = make_builder()
    check_random_access(builder)
    return builder


def _builder_config(entry: DatasetEntry, data_config: DataConfig, manual_dir: Any) -> Any:
    """What the builder takes as its config: one that was made from a folder, a name, or None."""
    if entry.folder_config:
        if data_config.builder_config:
            raise UserError(
                f"config.data.builder_config={data_config.builder_config!r}: {data_config.name} "
                f"has none."
            )
        if not manual_dir:
            raise UserError(
                f"config.data.manual_dir is empty. {entry.builder.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        return entry.folder_config(manual_dir)
    known = list(entry.builder.builder_configs)
    if data_config.builder_config and data_config.builder_config not in known:
        raise UserError(
            f"{data_config.name} has no builder config {data_config.builder_config!r} "
            f"(config.data.builder_config).{nearest(data_config.builder_config, known)} "
            f"Known: {', '.join(known) or 'none'}."
        )
    return data_config.builder_config or None


# A full disk or no network (both OSError), a refused download, a wrong download.
_BUILD_ERRORS = (OSError, tfds.download.DownloadError, NonMatchingChecksumError)


def _source(builder: Any, split: str, field: str) -> Any:
    """The records of a split, its images left encoded."""
    images = [k for k, v in builder.info.features.items() if isinstance(v, tfds.features.Image)]
    try:
        return builder.as_data_source(
            split=split, decoders={name: tfds.decode.SkipDecoding() for name in images}
        )
    except ValueError as error:
        known = list(builder.info.splits)
        raise UserError(
            f"config.data.{field}={split!r} is not a split of {builder.info.full_name}."
            f"{nearest(split, known)} Known: {', '.join(known)}. ({error})"
        ) from error


def _read_garments(source: Any, feature: str) -> Garments:
    records = [source[index] for index in range(len(source))]
    return Garments(
        images=np.stack([decode_levels(record[feature]) for record in records]),
        labels=np.array([record["label"] for record in records], np.int32),
    )
