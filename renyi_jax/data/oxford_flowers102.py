"""TFDS' builder of `oxford_flowers102`, made to read its files without TensorFlow."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.io
import tensorflow_datasets as tfds
from etils import epath
from scipy.io.matlab import MatReadError
from tensorflow_datasets.datasets.oxford_flowers102 import oxford_flowers102_dataset_builder

from renyi_jax.data.archives import check_count, find_file, iter_files
from renyi_jax.errors import UserError

_URL = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
_FILES = {"images": "102flowers.tgz", "labels": "imagelabels.mat", "splits": "setid.mat"}

# How setid.mat spells the splits.
_PUBLISHED_SPLITS = {"train": "trnid", "validation": "valid", "test": "tstid"}

SPLIT_SIZES = {"train": 1020, "validation": 1020, "test": 6149}  # examples of the published splits

# What scipy raises for bytes that are no Matlab file, or not a whole one.
_MAT_ERRORS = (MatReadError, ValueError, TypeError, NotImplementedError, KeyError)

_TfdsBuilder = oxford_flowers102_dataset_builder.Builder


class OxfordFlowers102(_TfdsBuilder, skip_registration=True):
    """TFDS' builder but for the two methods that open files.

    Name, version, features and records are TFDS' own, so either builder reads what the other
    prepared.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Get {', '.join(_URL + name for name in _FILES.values())} (345 MB) and give their folder "
        f"as manual_dir."
    )
    # TFDS looks for these beside the class.
    pkg_dir_path = epath.Path(oxford_flowers102_dataset_builder.__file__).parent
    url_infos = _TfdsBuilder.url_infos

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        files = {kind: find_file(self, dl_manager, _URL + name) for kind, name in _FILES.items()}
        labels = _read_mat(files["labels"], "labels")
        splits = {
            split: _read_mat(files["splits"], published)
            for split, published in _PUBLISHED_SPLITS.items()
        }
        for split, numbers in splits.items():
            check_count(files["splits"], split, len(numbers), SPLIT_SIZES[split])
        return {
            split: self._generate_examples(files["images"], labels, numbers)
            for split, numbers in splits.items()
        }

    def _generate_examples(
        self, images: epath.Path, labels: np.ndarray, numbers: np.ndarray
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        missing = {f"image_{number:05d}.jpg": number for number in numbers.tolist()}
        if len(missing) != len(numbers):
            raise UserError(f"setid.mat beside {images} lists an image twice.")
        for path, jpeg in iter_files(images, lambda path: path.name in missing):
            number = missing.pop(path.name)
            if not 1 <= number <= len(labels):
                raise UserError(
                    f"imagelabels.mat has {len(labels)} labels, and none of {path} in {images}."
                )
            label = int(labels[number - 1]) - 1
            yield path.name, {"image": jpeg, "label": label, "file_name": path.name}
        if missing:
            raise UserError(f"{images} has no {', '.join(sorted(missing)[:5])} (setid.mat does).")


def _read_mat(path: epath.Path, name: str) -> np.ndarray:
    """A row of numbers from a Matlab file."""
    try:
        return scipy.io.loadmat(io.BytesIO(path.read_bytes()))[name].ravel().astype(int)
    except _MAT_ERRORS as error:
        raise UserError(
            f"{path} is not a Matlab file with the variable {name!r}: {error}."
        ) from error
