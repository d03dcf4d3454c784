"""TFDS builder of `fgvc_aircraft`; needs no TensorFlow.

The last 20 rows of each photograph are a banner with the copyright, which would give the airline
away. The records hold the JPEG files as they were published, and the banner is cut off as they are
decoded: that is exact, where encoding anew would lose quality (JPEG) or take five times the disk
and the time to read (PNG).
"""

import io
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image, UnidentifiedImageError

from renyi_jax.data.archives import check_count, find_file, iter_files, manual_dir
from renyi_jax.errors import UserError, nearest, some

_URL = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz"

_DESCRIPTION = """\
10,000 photographs of aircraft. Each shows one aircraft, whose bounding box is given, and is
labelled at three levels: the variant (100 classes, "737-700"), the family (70, "Boeing 737") and
the manufacturer (30, "Boeing"). The builder config says which of them is `label`. The banner with
the copyright, the last 20 rows, is cut off.
"""

_CITATION = """\
@techreport{maji13fine-grained,
  title         = {Fine-Grained Visual Classification of Aircraft},
  author        = {S. Maji and J. Kannala and E. Rahtu and M. Blaschko and A. Vedaldi},
  year          = {2013},
  archivePrefix = {arXiv},
  eprint        = {1306.5151},
  primaryClass  = "cs-cv",
}
"""

LEVELS = ("variant", "family", "manufacturer")

SPLIT_SIZES = {"train": 3334, "validation": 3333, "test": 3333, "trainval": 6667}
"""Examples of the published splits."""

# How the archive spells the splits.
_PUBLISHED_SPLITS = {"train": "train", "validation": "val", "test": "test", "trainval": "trainval"}


def class_names(level: str) -> list[str]:
    """The published names of a level's classes, in the order of their labels."""
    file = epath.resource_path("renyi_jax") / "data" / "labels" / f"fgvc_aircraft_{level}.txt"
    return file.read_text().splitlines()


BANNER_ROWS = 20


def cut_banner(image: Image.Image) -> Image.Image:
    """The photograph without its banner."""
    return image.crop((0, 0, image.width, image.height - BANNER_ROWS))


class BannerlessImage(tfds.features.Image):
    """A photograph that is decoded without its banner."""

    def decode_example(self, example: Any) -> Any:
        return super().decode_example(example)[:-BANNER_ROWS]

    def decode_example_np(self, example: bytes) -> np.ndarray:
        return super().decode_example_np(example)[:-BANNER_ROWS]


class _Annotations(NamedTuple):
    """What the text files say of one split: image ids, and of each its classes and its box."""

    classes: dict[str, dict[str, str]]  # [level][id]
    boxes: dict[str, tuple[int, int, int, int]]


class FgvcAircraft(tfds.core.GeneratorBasedBuilder):
    """Builder of the `fgvc_aircraft` data set."""

    builder_config: tfds.core.BuilderConfig

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Initial release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Get {_URL} (2.8 GB) and give its folder as manual_dir: the archive itself, or what it "
        f"extracts to, the folder fgvc-aircraft-2013b."
    )
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=level, description=f"The label is the {level}.")
        for level in LEVELS
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "variant"

    def _info(self) -> tfds.core.DatasetInfo:
        labels = {level: tfds.features.ClassLabel(names=class_names(level)) for level in LEVELS}
        return self.dataset_info_from_configs(
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": BannerlessImage(encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=class_names(self.builder_config.name)),
                    **labels,
                    "bbox": tfds.features.BBoxFeature(doc="Of the image without the banner."),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
            citation=_CITATION,
            license="For non-commercial research purposes only",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        source = self._source(dl_manager)
        texts = {
            path.name: content.decode(errors="replace")  # what is not read is no known class
            for path, content in iter_files(
                source, lambda path: path.suffix == ".txt" and path.name.startswith("images_")
            )
        }
        splits = {
            split: _read_annotations(texts, published, source)
            for split, published in _PUBLISHED_SPLITS.items()
        }
        tested = splits["test"].classes["variant"].keys()
        for split, annotations in splits.items():
            images = annotations.classes["variant"].keys()
            check_count(source, split, len(images), SPLIT_SIZES[split])
            if split != "test" and (both := images & tested):
                raise UserError(
                    f"{source} has images both in {split} and in test: {some(sorted(both))}."
                )
        return {split: self._generate_examples(source, a) for split, a in splits.items()}

    def _source(self, dl_manager: tfds.download.DownloadManager) -> epath.Path:
        """The archive, or the folder that it was extracted to."""
        brought = manual_dir(dl_manager)
        if brought:
            for folder in (brought / "fgvc-aircraft-2013b", brought):
                if (folder / "data" / "images").is_dir():
                    return folder / "data"
        return find_file(self, dl_manager, _URL)

    def _generate_examples(
        self, source: epath.Path, annotations: _Annotations
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        classes = annotations.classes
        missing = set(classes["variant"])

        def wanted(path: PurePosixPath) -> bool:
            return path.suffix == ".jpg" and path.parent.name == "images" and path.stem in missing

        for path, jpeg in iter_files(source, wanted):
            name = path.stem
            missing.remove(name)
            example = {
                "id": name,
                "image": jpeg,
                "label": classes[self.builder_config.name][name],
                **{level: classes[level][name] for level in LEVELS},
                "bbox": _relative_box(annotations.boxes[name], jpeg, f"{path} in {source}"),
            }
            yield name, example
        if missing:
            raise UserError(
                f"{source} lists {len(missing)} images that it does not have: "
                f"{some(sorted(missing))} (images/ID.jpg)."
            )


def _read_annotations(texts: dict[str, str], split: str, source: epath.Path) -> _Annotations:
    """Reads `images_LEVEL_SPLIT.txt` of all levels, and `images_box.txt`."""
    classes = {}
    for level in LEVELS:
        name = f"images_{level}_{split}.txt"
        where = f"{name} in {source}"
        classes[level] = _read_lines(texts, name, source)
        known = class_names(level)
        for image, label in classes[level].items():
            if label not in known:
                raise UserError(
                    f"{where} gives image {image} the class {label!r}, which is no {level}."
                    f"{nearest(label, known)}"
                )
        unmatched = classes["variant"].keys() ^ classes[level].keys()
        if unmatched:
            raise UserError(
                f"{where} and images_variant_{split}.txt do not label the same images: only one of "
                f"them has {some(sorted(unmatched))}."
            )
    boxes = {}
    for image, numbers in _read_lines(texts, "images_box.txt", source).items():
        try:
            left, top, right, bottom = map(int, numbers.split())
        except ValueError:
            raise UserError(
                f"images_box.txt in {source} gives image {image} the box {numbers!r}; expected "
                f"four integers."
            ) from None
        boxes[image] = (left, top, right, bottom)
    if boxless := classes["variant"].keys() - boxes.keys():
        raise UserError(f"images_box.txt in {source} has no box of {some(sorted(boxless))}.")
    return _Annotations(classes, boxes)


def _read_lines(texts: dict[str, str], name: str, source: epath.Path) -> dict[str, str]:
    """Image ids, and what the rest of their lines says."""
    if name not in texts:
        raise UserError(f"There is no file {name} in {source}.")
    lines: dict[str, str] = {}
    for number, line in enumerate(texts[name].splitlines(), start=1):
        image, _, rest = line.strip().partition(" ")
        if not image:
            continue
        if not rest.strip():
            raise UserError(f"{name} in {source}, line {number}: image {image} has no label.")
        if image in lines:
            raise UserError(f"{name} in {source}, line {number}: image {image} is listed twice.")
        lines[image] = rest.strip()
    return lines


def _relative_box(box: tuple[int, int, int, int], jpeg: bytes, where: str) -> tfds.features.BBox:
    """Shares of the image without its banner, from pixels that count from 1, both ends included."""
    try:
        with Image.open(io.BytesIO(jpeg)) as image:
            width, height = image.size
    except UnidentifiedImageError:
        raise UserError(f"{where} is not an image.") from None
    height -= BANNER_ROWS
    if height < 1:
        raise UserError(f"{where} has no rows above its banner of {BANNER_ROWS}.")
    left, top, right, bottom = box
    xmin, xmax = np.clip([(left - 1) / width, right / width], 0, 1).tolist()
    ymin, ymax = np.clip([(top - 1) / height, bottom / height], 0, 1).tolist()
    if xmin > xmax or ymin > ymax:
        raise UserError(
            f"{where} has the box {box} (left, top, right, bottom), which is inside out."
        )
    return tfds.features.BBox(ymin=ymin, xmin=xmin, ymax=ymax, xmax=xmax)
