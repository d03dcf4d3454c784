"""TFDS builder of `image_folder`: any folder of images by split and class."""

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from renyi_jax.data.archives import list_files
from renyi_jax.errors import UserError

_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclasses.dataclass(eq=False, kw_only=True)
class FolderConfig(tfds.core.BuilderConfig):
    """Builder config of one state of one folder; `images` holds the files of each split, each as
    (class, path within the folder)."""

    folder: epath.Path
    class_names: tuple[str, ...] = dataclasses.field(repr=False)
    images: Mapping[str, tuple[tuple[str, str], ...]] = dataclasses.field(repr=False)


class ImageFolder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Builder of `FOLDER/SPLIT/CLASS/*.jpg`; the classes are those of the split `train`."""

    builder_config: FolderConfig

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Initial release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Give as manual_dir a folder of train/CLASS/*.jpg and test/CLASS/*.jpg (or .jpeg, .png)."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        names = list(self.builder_config.class_names)
        return self.dataset_info_from_configs(
            description=f"The images in {self.builder_config.folder}.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(),
                    "label": tfds.features.ClassLabel(names=names),
                    "file_name": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        del dl_manager
        images = self.builder_config.images
        return {split: self._generate_examples(images[split]) for split in images}

    def _generate_examples(
        self, images: tuple[tuple[str, str], ...]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for label, name in images:
            image = self.builder_config.folder / name
            yield name, {"image": image, "label": label, "file_name": name}


def folder_config(folder: epath.Path) -> FolderConfig:
    """What is in the folder now. Its name changes with the names and sizes of the images, so that a
    changed folder is prepared anew.

    Raises:
      UserError: without images in train/CLASS, for a class without training images, and for one
        that only another split has.
    """
    folder = folder.resolve()
    splits = {
        split.name: {path.name: _images(path) for path in _folders(split)}
        for split in _folders(folder)
    }
    splits = {split: classes for split, classes in splits.items() if any(classes.values())}
    if "train" not in splits:
        raise UserError(
            f"There is no folder {folder}/train with a folder of images for each class."
        )
    train = splits["train"]
    for split, classes in splits.items():
        for name, images in classes.items():
            if name not in train:
                raise UserError(
                    f"{folder}/{split}/{name} is a class that nothing can learn: there is no "
                    f"{folder}/train/{name}."
                )
            if split == "train" and not images:
                raise UserError(
                    f"{folder}/train/{name} has no images ({', '.join(_SUFFIXES)}). Put some "
                    f"there, or remove the folder."
                )
    found = {
        split: tuple(
            (name, f"{split}/{name}/{image}") for name in classes for image in classes[name]
        )
        for split, classes in splits.items()
    }
    state = hashlib.sha256(str(folder).encode())
    for _, name in sum(found.values(), ()):
        state.update(f"{name} {(folder / name).stat().length}\n".encode())
    return FolderConfig(
        name=f"{re.sub('[^A-Za-z0-9_]', '_', folder.name)}-{state.hexdigest()[:12]}",
        folder=folder,
        class_names=tuple(sorted(train)),
        images=found,
    )


def _folders(path: epath.Path) -> list[epath.Path]:
    return [p for p in sorted(path.iterdir()) if p.is_dir() and not p.name.startswith(".")]


def _images(path: epath.Path) -> list[str]:
    return [str(name) for name in list_files(path) if name.suffix.lower() in _SUFFIXES]
