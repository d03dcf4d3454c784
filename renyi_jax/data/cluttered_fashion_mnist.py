"""TFDS builder of `cluttered_fashion_mnist`; needs no TensorFlow, since it yields PIL images."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from jaxtyping import Int32, UInt8
from PIL import Image

from renyi_jax.data import clutter, fashion_mnist
from renyi_jax.data.archives import find_file
from renyi_jax.images.reading import decode_levels

_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

_DESCRIPTION = """\
Photographs of garments (Fashion-MNIST) in clutter: each 28 x 28 garment lies at a random place on a
56 x 56 canvas, over eight 9 x 9 fragments of other garments of the same split. Since the garment
occludes what lies under it, its pixels are known exactly, and come as `object_mask`.

The canvases are a function of the builder config's seed: everybody gets the same ones.
"""

_CITATION = """\
@article{xiao2017fashion,
  author  = {Han Xiao and Kashif Rasul and Roland Vollgraf},
  title   = {Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms},
  journal = {CoRR},
  volume  = {abs/1708.07747},
  year    = {2017},
  url     = {http://arxiv.org/abs/1708.07747},
}
"""

# Keeps the canvases of the two splits apart: the "epoch" of their random streams.
_STREAMS = {"train": 0, "test": 1}


@dataclasses.dataclass(eq=False, kw_only=True)
class CanvasConfig(tfds.core.BuilderConfig):
    """Builder config; `embedded` takes the shipped garments, and `seed` decides the canvases."""

    embedded: bool
    seed: int = 0


class ClutteredFashionMnist(tfds.core.GeneratorBasedBuilder):
    """Builder of the `cluttered_fashion_mnist` data set."""

    builder_config: CanvasConfig

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Initial release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Only the config `full` needs files, and it can download them. To spare the download, put "
        + ", ".join(name for names in fashion_mnist.FILES.values() for name in names)
        + " of https://github.com/zalandoresearch/fashion-mnist into a folder and give it as "
        "manual_dir."
    )
    BUILDER_CONFIGS: ClassVar = [
        CanvasConfig(
            name="embedded",
            description="6,000 training and 1,000 test garments that the package ships.",
            embedded=True,
        ),
        CanvasConfig(
            name="full",
            description="The whole of Fashion-MNIST: 60,000 and 10,000 garments.",
            embedded=False,
        ),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "embedded"

    def _info(self) -> tfds.core.DatasetInfo:
        grey = {"dtype": np.uint8, "encoding_format": "png"}
        canvas = (clutter.CANVAS_SIZE, clutter.CANVAS_SIZE, 1)
        return self.dataset_info_from_configs(
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=canvas, **grey),
                    "label": tfds.features.ClassLabel(names=list(fashion_mnist.CLASS_NAMES)),
                    "object_mask": tfds.features.Image(
                        shape=canvas, doc="255 on the garment's pixels, 0 elsewhere.", **grey
                    ),
                    "garment": tfds.features.Image(
                        shape=(28, 28, 1), doc="The garment alone, as published.", **grey
                    ),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://github.com/zalandoresearch/fashion-mnist",
            citation=_CITATION,
            license="MIT",
            # Records stay in the published order, so that a slice of a split means the same to all.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        files = self._files(dl_manager)
        return {split: self._generate_examples(split, *paths) for split, paths in files.items()}

    def _files(self, dl_manager: Any) -> dict[str, list[epath.Path]]:
        """Images and labels of each split: shipped, brought by the user, or downloaded."""

        def find(name: str) -> epath.Path:
            if self.builder_config.embedded:
                return fashion_mnist.embedded_dir() / name
            return find_file(self, dl_manager, _URL + name)

        return {split: list(map(find, names)) for split, names in fashion_mnist.FILES.items()}

    def _generate_examples(self, split: str, images: epath.Path, labels: epath.Path):
        garments, classes = fashion_mnist.read_split(images, labels)
        for index, (garment, label) in enumerate(zip(garments, classes, strict=True)):
            rng = clutter.canvas_rng(self.builder_config.seed, _STREAMS[split], index)
            canvas, mask = clutter.compose(rng, garments, index)
            example = {
                "id": f"{split}-{index:05d}",
                "image": Image.fromarray(canvas),
                "label": int(label),
                "object_mask": Image.fromarray(mask.astype(np.uint8) * 255),
                "garment": Image.fromarray(garment),
            }
            yield index, example


@dataclasses.dataclass(frozen=True)
class Garments:
    """The bare garments of a split in memory, for canvases composed anew at each visit."""

    images: UInt8[np.ndarray, "n h w"]
    labels: Int32[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"index": np.int64(index), "label": self.labels[index]}


def read_garments(source: Sequence[dict[str, Any]]) -> Garments:
    """Reads the garments of the records of a split."""
    records = [source[index] for index in range(len(source))]
    return Garments(
        images=np.stack([decode_levels(record["garment"]) for record in records]),
        labels=np.array([record["label"] for record in records], np.int32),
    )
