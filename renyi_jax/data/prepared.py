"""Data sets that TFDS prepares on disk, and those that it has prepared already."""

import contextlib
import dataclasses
import fcntl
import functools
import io
import logging
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds
from absl import logging as absl_logging
from array_record.python.array_record_module import ArrayRecordReader
from etils import epath
from PIL import Image
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from renyi_jax.common.files import cache_folder, path_of
from renyi_jax.common.progress import phase
from renyi_jax.data.dataset import DataConfig, Dataset, Records, manual_folder
from renyi_jax.data.splits import Part, resolve_split
from renyi_jax.errors import UserError, nearest

FILE_FORMAT = "array_record"  # the layout on disk that has random access without TensorFlow

# A full disk or no network (both OSError), a refused download, a wrong download.
_BUILD_ERRORS = (OSError, tfds.download.DownloadError, NonMatchingChecksumError)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A data set with a TFDS builder, and which of its features mean what.

    The prepared data lie under `config.data.data_dir`, in TFDS' layout. They are built beside and
    renamed when whole.
    """

    builder: type[tfds.core.DatasetBuilder]
    # the feature that is non-zero on the labelled object, if there is one
    object_mask: str | None = None
    # what is done to each image as it is decoded
    edit: Callable[[Image.Image], Image.Image] | None = None
    # reads from the records of a split its bare garments, where there are any
    read_garments: Callable[[Sequence[dict[str, Any]]], Any] | None = None

    def load(self, config: DataConfig) -> Dataset:
        """Opens the data set, and prepares it first where needed.

        Raises UserError: an unknown builder config or split, or missing or damaged data.
        """
        with _quiet():
            builder = self._prepared(config)
        check_random_access(builder)
        features: Any = builder.info.features  # a FeaturesDict; TFDS types it as its base
        shape = features["image"].shape
        sizes = {name: split.num_examples for name, split in builder.info.splits.items()}

        def source(field: str) -> Any:
            parts = resolve_split(config[field], sizes, field, builder.info.full_name)
            for split in dict.fromkeys(part.split for part in parts):
                check_shards(builder, split)
            return _open(builder, parts)

        train, test = source("train_split"), source("test_split")
        read = self.read_garments
        return Dataset(
            name=config.name,
            class_names=tuple(features["label"].names),
            image_shape=None if None in shape[:2] else (*shape[:2], 3),
            has_object_masks=self.object_mask is not None,
            train=Records(train, config.train_split, edit=self.edit),
            test=Records(test, config.test_split, self.object_mask, self.edit),
            read_garments=functools.partial(read, train) if read else None,
        )

    def count_classes(self, config: DataConfig) -> int:
        """The number of classes, which the builder knows without its data."""
        features: Any = self._make(config).info.features
        return features["label"].num_classes

    def _make(self, config: DataConfig) -> tfds.core.DatasetBuilder:
        known = list(self.builder.builder_configs)
        if config.builder_config and config.builder_config not in known:
            raise UserError(
                f"{config.name} has no builder config {config.builder_config!r} "
                f"(config.data.builder_config).{nearest(config.builder_config, known)} "
                f"Known: {', '.join(known) or 'none'}."
            )
        folder = _data_dir(config)
        try:
            with _quiet():
                return self.builder(config=config.builder_config or None, data_dir=folder)
        except Exception as error:  # TFDS reads what lies there as it is made
            damaged = folder / self.builder.name / (config.builder_config or "")
            raise _damaged(damaged, f"their description cannot be read: {error}") from error

    def _prepared(self, config: DataConfig) -> tfds.core.DatasetBuilder:
        builder, manual_dir = self._make(config), manual_folder(config)
        if builder.is_prepared():
            return builder
        with _alone(epath.Path(builder.data_dir).parent):
            builder = self._make(config)
            if not builder.is_prepared():
                _prepare(builder, _data_dir(config), manual_dir)
        return self._make(config)


def _data_dir(config: DataConfig) -> epath.Path:
    if not config.data_dir:
        return epath.Path(cache_folder()) / "data"
    return path_of("config.data.data_dir", config.data_dir)


def _prepare(
    builder: tfds.core.DatasetBuilder, data_dir: epath.Path, manual_dir: epath.Path | None
) -> None:
    name = builder.info.full_name
    absl_logging.info("Preparing %s in %s.", name, data_dir)
    terminal = sys.stderr.isatty()
    tfds.display_progress_bar(terminal)
    try:
        with contextlib.nullcontext() if terminal else phase(f"Preparing {name}"):
            builder.download_and_prepare(
                file_format=FILE_FORMAT,
                download_config=tfds.download.DownloadConfig(
                    manual_dir=manual_dir, try_download_gcs=False
                ),
            )
    except (*_BUILD_ERRORS, UserError) as error:
        raise UserError(
            f"Could not prepare {name} in {data_dir}: {error}\n"
            f"{builder.MANUAL_DOWNLOAD_INSTRUCTIONS or ''}".rstrip()
        ) from error


@contextlib.contextmanager
def _alone(folder: epath.Path) -> Iterator[None]:
    """Prepares in a folder one process at a time, after what killed ones left is removed."""
    if "://" in str(folder):
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".preparing").touch()
    except OSError as error:
        raise UserError(
            f"config.data.data_dir: {folder} cannot be written: {error.strerror}."
        ) from error
    with (folder / ".preparing").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with phase(f"Waiting for another process, which prepares {folder}"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob("incomplete.*"):
            absl_logging.info("Removing %s, which an interrupted preparation left.", left)
            left.rmtree()
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds back what TFDS logs and prints: `phase` tells of its work, errors of its failures."""

    def is_ours(record: logging.LogRecord) -> bool:
        return "tensorflow_datasets" not in record.pathname or record.levelno >= logging.ERROR

    logger = absl_logging.get_absl_logger()
    logger.addFilter(is_ours)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.removeFilter(is_ours)


def _open(builder: Any, parts: Sequence[Part]) -> Any:
    """The records of parts of splits, their images left encoded."""
    images = [k for k, v in builder.info.features.items() if isinstance(v, tfds.features.Image)]
    return builder.as_data_source(
        split="+".join(f"{part.split}[{part.start}:{part.stop}]" for part in parts),
        decoders={name: tfds.decode.SkipDecoding() for name in images},
    )


def check_shards(builder: Any, split: str) -> None:
    """Raises `UserError` where a file of a prepared split is missing or lacks examples."""
    info = builder.info.splits[split]
    template = info.filename_template.replace(filetype_suffix=FILE_FORMAT)
    paths = template.sharded_filepaths(len(info.shard_lengths))
    for path, expected in zip(paths, info.shard_lengths):
        if "://" in str(path):
            continue  # each would be fetched
        try:
            reader = ArrayRecordReader(str(path))
            found = reader.num_records()
            reader.close()
        except Exception as error:
            reason = f"{path.name} cannot be read: {str(error).splitlines()[0]}"
            raise _damaged(path.parent, reason) from error
        if found != expected:
            raise _damaged(path.parent, f"{path.name} has {found} examples of {expected}")


def _damaged(folder: epath.Path, reason: str) -> UserError:
    return UserError(
        f"The prepared data in {folder} are damaged: {reason}. Remove them, and prepare them"
        f" anew: rm -r {shlex.quote(str(folder))}"
    )


def open_prepared(name: str, folders: Sequence[epath.Path]) -> tfds.core.DatasetBuilder:
    """Returns the newest version of a data set in the first folder that has it.

    Raises UserError: if none has it, or only in a format without random access.
    """
    for folder in folders:
        versions = [
            tfds.core.Version(path.parent.name)
            for path in (folder / name).glob("*/dataset_info.json")
            if tfds.core.Version.is_valid(path.parent.name)
        ]
        if versions:
            prepared = folder / name / str(max(versions))
            try:
                builder = tfds.builder_from_directory(prepared)
            except Exception as error:  # as in `Prepared`
                raise _damaged(prepared, f"their description cannot be read: {error}") from error
            check_random_access(builder)
            return builder
    looked = " and ".join(str(folder / name) for folder in folders)
    raise UserError(f"There is no prepared {name} in {looked}.")


def check_random_access(builder: tfds.core.DatasetBuilder) -> None:
    """Raises UserError, with the command that converts them, if records have no random access."""
    formats = {file_format.value for file_format in builder.info.available_file_formats()}
    if FILE_FORMAT not in formats:
        raise UserError(
            f"{builder.data_path} holds {', '.join(sorted(formats))} files, which cannot be read "
            f"in any order. To convert them, run this where TFDS finds the packages that its "
            f"commands want (pip install tensorflow apache-beam mlcroissant):\n"
            f"  tfds convert_format --dataset_version_dir={builder.data_path} "
            f"--out_file_format={FILE_FORMAT}"
        )
