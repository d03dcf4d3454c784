"""The data set `cluttered_fashion_mnist`: a garment at a random place among fragments of others.

The construction is that of cluttered MNIST (Mnih et al., "Recurrent Models of Visual Attention",
arXiv 1406.6247, section 4.1) with photographs of garments for digits. The garment lies on top, so
its pixels are known exactly: the mask tells which patches a pruned model should have kept.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from jaxtyping import Bool, Int32, UInt8
from PIL import Image

from renyi_jax.data import fashion_mnist
from renyi_jax.data.archives import find_file
from renyi_jax.images.reading import decode_levels

CANVAS_SIZE = 56
FRAGMENT_SIZE = 9
NUM_FRAGMENTS = 8


def canvas_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Returns the random stream of one canvas, a function of three non-negative integers alone.

    Philox is counter-based: streams never meet, and any worker composes the same canvas.
    """
    key = np.array([seed, epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))


def cluttered_canvas(
    rng: np.random.Generator,
    garment: UInt8[np.ndarray, "h w"],
    others: UInt8[np.ndarray, "fragments h w"],
    canvas_size: int = CANVAS_SIZE,
    fragment_size: int = FRAGMENT_SIZE,
) -> tuple[UInt8[np.ndarray, "c c"], Bool[np.ndarray, "c c"]]:
    """Puts a random crop of each of `others` at a random place, and `garment` over them.

    Fragments that meet merge by their maximum; the garment hides what lies under it wherever its
    grey level is above 0.

    Returns:
        The canvas in grey levels, and the mask of the pixels that belong to the garment.
    """
    height, width = garment.shape
    # Places that each corner may take: crops and fragments (y, x), then the garment (y, x). All
    # are drawn in one call, since a call for each coordinate would take most of the time.
    crop = (height - fragment_size + 1, width - fragment_size + 1)
    place = (canvas_size - fragment_size + 1,) * 2
    free = (canvas_size - height + 1, canvas_size - width + 1)
    choices = np.array((crop + place) * len(others) + free)
    corners = (rng.random(len(choices)) * choices).astype(np.intp).tolist()

    image = np.zeros((canvas_size, canvas_size), np.uint8)
    for i, other in enumerate(others):
        from_y, from_x, y, x = corners[4 * i : 4 * i + 4]
        fragment = other[from_y : from_y + fragment_size, from_x : from_x + fragment_size]
        window = image[y : y + fragment_size, x : x + fragment_size]
        np.maximum(window, fragment, out=window)

    y, x = corners[-2:]
    mask = np.zeros(image.shape, bool)
    mask[y : y + height, x : x + width] = garment > 0
    np.copyto(image[y : y + height, x : x + width], garment, where=garment > 0)
    return image, mask


def compose(
    rng: np.random.Generator,
    garments: UInt8[np.ndarray, "n h w"],
    index: int,
    num_fragments: int = NUM_FRAGMENTS,
) -> tuple[UInt8[np.ndarray, "c c"], Bool[np.ndarray, "c c"]]:
    """The canvas of `garments[index]` among fragments of garments drawn from the rest."""
    others = rng.integers(0, len(garments) - 1, num_fragments)
    others += others >= index
    return cluttered_canvas(rng, garments[index], garments[others])


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
        canvas = (CANVAS_SIZE, CANVAS_SIZE, 1)
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
            rng = canvas_rng(self.builder_config.seed, _STREAMS[split], index)
            canvas, mask = compose(rng, garments, index)
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
