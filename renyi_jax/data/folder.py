"""Any folder of images, read where it lies: DIR/SPLIT/CLASS/*.jpg, or DIR/CLASS/*.jpg."""

import collections
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging
from etils import epath
from jaxtyping import Int32

from renyi_jax.data.dataset import DataConfig, Dataset, Records, manual_folder
from renyi_jax.data.splits import Part, resolve_split, split_names, synonyms
from renyi_jax.errors import UserError, some
from renyi_jax.images.files import describe_skipped, find_image_files, list_folders, printable
from renyi_jax.images.reading import read_file

_EXPECTED = (
    "a folder of train/CLASS/*.jpg and test/CLASS/*.jpg (or val), or of CLASS/*.jpg, of which a"
    " part is kept for testing"
)

Split = dict[str, list[str]]  # the images of each class, as paths within the folder


class ImageFolder:
    """The data set `image_folder`; the classes are those of the training split if there is one."""

    def load(self, config: DataConfig) -> Dataset:
        """Lists what is in the folder now; an image is read when it is asked for.

        Raises UserError: no images by class, an unknown or empty split, or a class of the test
        split alone.
        """
        if config.builder_config:
            raise UserError(
                f"config.data.builder_config={config.builder_config!r}: {config.name} has none."
            )
        folder = manual_folder(config)
        if folder is None:
            raise UserError(f"config.data.manual_dir is empty. Give as manual_dir {_EXPECTED}.")
        root = os.fspath(folder)
        splits = _with_test(_read_splits(root, config), config, root)
        orders = {name: _in_order(split) for name, split in splits.items()}
        sizes = {name: len(images) for name, images in orders.items()}
        owner = printable(root)
        test = resolve_split(config.test_split, sizes, "test_split", owner)
        train = []
        if not _lacks(config.train_split, "train", splits):
            train = resolve_split(config.train_split, sizes, "train_split", owner)
        names = sorted({name for part in train or test for name in splits[part.split]})
        for part in test:
            if unknown := set(splits[part.split]) - set(names):
                raise UserError(
                    f"{owner} has classes in {part.split} that nothing can learn, since the"
                    f" training split has no image of them: {_printable(unknown)}."
                )

        labels = {name: label for label, name in enumerate(names)}

        def records(parts: Sequence[Part], split: str) -> Records:
            images = [each for part in parts for each in orders[part.split][part.start : part.stop]]
            files = [file for _, file in images]
            numbers = np.array([labels[name] for name, _ in images], np.int32)
            return _FileRecords(_Files(root, files, numbers), split)

        return Dataset(
            name=config.name,
            class_names=tuple(map(printable, names)),
            image_shape=None,
            has_object_masks=False,
            train=records(train, config.train_split),
            test=records(test, config.test_split),
        )

    def count_classes(self, config: DataConfig) -> int:
        """The number of classes in the folder; raises as `load` does."""
        return self.load(config).num_classes


@dataclasses.dataclass(frozen=True)
class _Files(Sequence):
    """Encoded images with random access."""

    root: str
    names: list[str]
    labels: Int32[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> dict[str, Any]:
        path = os.path.join(self.root, self.names[index])
        content = epath.Path(path).read_bytes() if "://" in path else read_file(path)
        return {"image": content, "label": self.labels[index]}


class _FileRecords(Records):
    source: _Files

    def labels(self) -> Int32[np.ndarray, "n"]:
        return self.source.labels

    def relabelled(self, labels: Sequence[int]) -> Records:
        source, numbers = self.source, np.asarray(labels, np.int32)
        return _FileRecords(_Files(source.root, source.names, numbers[source.labels]), self.split)

    def outline(self) -> Iterator[str]:
        yield from super().outline()
        for name, label in zip(self.source.names, self.source.labels):
            path = os.path.join(self.source.root, name)
            yield f"{label} {os.path.getsize(path) if os.path.exists(path) else ''}"

    def _record_id(self, record: dict[str, Any], index: int) -> str:
        return repr(printable(self.source.names[index]))


def _read_splits(root: str, config: DataConfig) -> dict[str, Split]:
    """The images by split and class; a folder of classes is all "train"."""
    found = {name: find_image_files(os.path.join(root, name)) for name in list_folders(root)}
    skipped = sum((each.skipped for each in found.values()), collections.Counter())
    splits = {name: _by_class(name, files.names) for name, files in found.items()}
    splits = {name: split for name, split in splits.items() if split}
    asked = {
        each
        for field in (config.train_split, config.test_split)
        for name in split_names(field, splits)
        for each in synonyms(name)
    }
    if not asked & {name.lower() for name in splits} and not asked & set(splits):
        flat = {
            name: [f"{name}/{file}" for file in files.names]
            for name, files in found.items()
            if files.names
        }
        if asked.issuperset(name.lower() for name in flat):
            raise UserError(
                f"{printable(root)} has no images in folders of classes; expected {_EXPECTED}."
                f" {describe_skipped(skipped)}".rstrip()
            )
        splits = {"train": flat}
        empty = set(found) - set(flat)
    else:
        skipped["images outside of the folders of classes"] += sum(
            len(files.names) - sum(map(len, splits.get(name, {}).values()))
            for name, files in found.items()
        )
        empty = {
            f"{split}/{name}"
            for split, classes in splits.items()
            for name in set(list_folders(os.path.join(root, split))) - set(classes)
        }
    if empty:
        told = _printable(empty)
        logging.warning(
            "%s: folders without images, which are no classes: %s.", printable(root), told
        )
    if skipped := +skipped:
        logging.warning("%s: %s", printable(root), describe_skipped(skipped))
    return splits


def _by_class(split: str, files: Iterable[str]) -> Split:
    classes = collections.defaultdict(list)
    for file in files:
        if "/" in file:
            classes[file.partition("/")[0]].append(f"{split}/{file}")
    return dict(classes)


def _with_test(splits: dict[str, Split], config: DataConfig, root: str) -> dict[str, Split]:
    """The splits, and where there is none to test on, a part of each training class for it."""
    trains = [name for name in split_names("train", splits) if name in splits]
    share = config.test_share
    if not trains or not share or not _lacks(config.test_split, "test", splits):
        return splits
    train: Split = {}
    test: Split = {}
    for name, files in splits[trains[0]].items():
        ordered = sorted(files, key=_shuffled)
        count = round(share * len(files))
        if share < 1:
            count = min(max(1, count), len(files) - 1)
        test[name], train[name] = ordered[:count], ordered[count:]
    kept, total = (sum(map(len, split.values())) for split in (test, splits[trains[0]]))
    logging.info(
        "%s has no test split: %d of its %d images are kept for testing, of each class the share"
        " config.data.test_share=%g.",
        *(printable(root), kept, total, share),
    )
    parts = {trains[0]: _without_empty(train), "test": _without_empty(test)}
    return {name: split for name, split in {**splits, **parts}.items() if split}


def _lacks(expression: str, name: str, splits: dict[str, Split]) -> bool:
    """Whether an expression asks for a split by one of the names of `name`, and there is none."""
    asked = split_names(expression, splits)
    return not any(each in splits for each in asked) and set(asked) <= set(synonyms(name))


def _in_order(split: Split) -> list[tuple[str, str]]:
    """Classes and files, shuffled: a part of a split has about the classes of the whole."""
    images = [(name, file) for name, files in split.items() for file in files]
    return sorted(images, key=lambda image: _shuffled(image[1]))


def _shuffled(file: str) -> bytes:
    """A key that depends on the class and the name of a file, not on where the folder lies."""
    return hashlib.sha256(os.fsencode("/".join(file.split("/")[-2:]))).digest()


def _without_empty(split: Split) -> Split:
    return {name: files for name, files in split.items() if files}


def _printable(names: Iterable[str]) -> str:
    return some([printable(name) for name in sorted(names)])
