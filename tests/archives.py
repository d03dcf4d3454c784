"""Tiny archives in the true formats of the published data sets."""

import io
import itertools
import tarfile
from pathlib import Path

import numpy as np
import scipy.io
import tensorflow_datasets as tfds
from PIL import Image, ImageFilter

BANNER = 20


def photo(rng: np.random.Generator, height: int, width: int, banner: int = 0) -> Image.Image:
    """Smooth random colours; the last `banner` rows are black."""
    noise = Image.fromarray(rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8))
    image = noise.resize((width, height)).filter(ImageFilter.GaussianBlur(1))
    if banner:
        image.paste((0, 0, 0), (0, height - banner, width, height))
    return image


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


AIRCRAFT = [
    ("737-300", "Boeing 737", "Boeing"),
    ("737-700", "Boeing 737", "Boeing"),
    ("A320", "A320", "Airbus"),
    ("F-16A/B", "F-16", "Lockheed Corporation"),
    ("Yak-42", "Yak-42", "Yakovlev"),
]


def aircraft_files(sizes: dict[str, int] | None = None) -> dict[str, bytes]:
    """The files of fgvc-aircraft-2013b.tar.gz, with some of the classes and few images."""
    sizes = sizes or {"train": 6, "val": 5, "test": 7}
    rng = np.random.default_rng(0)
    ids = itertools.count(34309, 649)
    images = {split: [f"{next(ids):07d}" for _ in range(size)] for split, size in sizes.items()}
    images["trainval"] = images["train"] + images["val"]
    files, boxes = {}, []
    for image in sorted(images["trainval"] + images["test"]):
        height, width = int(rng.integers(60, 90)) + BANNER, int(rng.integers(80, 120))
        files[f"images/{image}.jpg"] = jpeg(photo(rng, height, width, BANNER))
        boxes.append(f"{image} 1 11 {width} {height - BANNER}")
    files["images_box.txt"] = "\n".join(boxes).encode()
    for split, names in images.items():
        kinds = list(zip(names, itertools.cycle(AIRCRAFT)))
        files[f"images_{split}.txt"] = "\n".join(names).encode()
        for level, position in (("variant", 0), ("family", 1), ("manufacturer", 2)):
            lines = [f"{name} {kind[position]}" for name, kind in kinds]
            files[f"images_{level}_{split}.txt"] = "\n".join(lines).encode()
    for name, position in (("variants", 0), ("families", 1), ("manufacturers", 2)):
        files[f"{name}.txt"] = "\n".join(sorted({kind[position] for kind in AIRCRAFT})).encode()
    return {f"fgvc-aircraft-2013b/data/{name}": content for name, content in files.items()}


def flowers_files(num_train: int = 4, num_test: int = 6) -> dict[str, bytes]:
    """102flowers.tgz (as its members), imagelabels.mat and setid.mat, of few images."""
    rng = np.random.default_rng(0)
    total = 2 * num_train + num_test
    numbers = rng.permutation(total) + 1
    files = {
        f"jpg/image_{number:05d}.jpg": jpeg(photo(rng, 50, int(rng.integers(50, 80))))
        for number in range(1, total + 1)
    }
    files["imagelabels.mat"] = mat(labels=rng.integers(1, 103, total).astype(np.uint8))
    files["setid.mat"] = mat(
        trnid=numbers[:num_train].astype(np.uint16),
        valid=numbers[num_train : 2 * num_train].astype(np.uint16),
        tstid=numbers[2 * num_train :].astype(np.uint16),
    )
    return files


def mat(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {name: array[None] for name, array in arrays.items()})
    return buffer.getvalue()


def write_flowers(folder: Path, files: dict[str, bytes]) -> Path:
    images = {name: content for name, content in files.items() if name.endswith(".jpg")}
    write_files(folder, {name: files[name] for name in files.keys() - images.keys()})
    write_tar(folder / "102flowers.tgz", images)
    return folder


class Imagenet2012(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """What TFDS' imagenet2012 looks like when prepared, of a few images of every 20th class."""

    VERSION = tfds.core.Version("5.1.0")

    def _info(self):
        names = tfds.core.tfds_path("datasets/imagenet2012/labels.txt").read_text().split()
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=names),
                    "file_name": tfds.features.Text(),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(3), "validation": self._generate_examples(1)}

    def _generate_examples(self, per_class):
        rng = np.random.default_rng(per_class)
        for synset in self.info.features["label"].names[::20]:
            for index in range(per_class):
                name = f"{synset}_{index}.JPEG"
                content = jpeg(photo(rng, 24, 32))
                yield name, {"image": content, "label": synset, "file_name": name}


def prepare_imagenet(data_dir: Path) -> Imagenet2012:
    builder = Imagenet2012(data_dir=data_dir)
    builder.download_and_prepare(file_format="array_record")
    return builder


def folder_files(sizes: dict[str, dict[str, int]] | None = None) -> dict[str, bytes]:
    """SPLIT/CLASS/NAME.jpg, or SPLIT/NAME.jpg for a class without a name."""
    sizes = sizes or {"train": {"cat": 5, "dog": 4}, "test": {"cat": 2, "dog": 3}}
    rng = np.random.default_rng(0)
    return {
        f"{split}/{name}/{index}.jpg".replace("//", "/"): jpeg(
            photo(rng, int(rng.integers(40, 70)), 60)
        )
        for split, classes in sizes.items()
        for name, size in classes.items()
        for index in range(size)
    }
