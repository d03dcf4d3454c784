"""Data sets that TFDS has prepared on disk already, perhaps in a format without random access."""

from collections.abc import Sequence

import tensorflow_datasets as tfds
from etils import epath

from renyi_jax.errors import UserError

FILE_FORMAT = "array_record"
"""The layout on disk that has random access without TensorFlow."""


def open_prepared(name: str, folders: Sequence[epath.Path]) -> tfds.core.DatasetBuilder:
    """The newest version of a data set (one without builder configs) from the first folder that
    has it.

    Raises:
      UserError: if none has it, or only in a format without random access.
    """
    for folder in folders:
        versions = [
            tfds.core.Version(path.parent.name)
            for path in (folder / name).glob("*/dataset_info.json")
            if tfds.core.Version.is_valid(path.parent.name)
        ]
        if versions:
            builder = tfds.builder_from_directory(folder / name / str(max(versions)))
            check_random_access(builder)
            return builder
    looked = " and ".join(str(folder / name) for folder in folders)
    raise UserError(f"There is no prepared {name} in {looked}.")


def check_random_access(builder: tfds.core.DatasetBuilder) -> None:
    """Whether the records of a prepared data set can be read in any order.

    Raises:
      UserError: if they cannot, with the command that converts them.
    """
    formats = {file_format.value for file_format in builder.info.available_file_formats()}
    if FILE_FORMAT not in formats:
        raise UserError(
            f"{builder.data_path} holds {', '.join(sorted(formats))} files, which cannot be read "
            f"in any order. To convert them, run this where TFDS finds the packages that its "
            f"commands want (pip install tensorflow apache-beam mlcroissant):\n"
            f"  tfds convert_format --dataset_version_dir={builder.data_path} "
            f"--out_file_format={FILE_FORMAT}"
        )
