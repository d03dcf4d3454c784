"""Tiny archives in the true formats of the published data sets."""

import io
import itertools
import tarfile
from pathlib import Path

import numpy as np
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
