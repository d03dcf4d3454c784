"""Images per second of one worker: this project's training loader against timm's.

    python benchmarks/loader_speed.py --out=DIR [--images=FOLDER]

Both sides read the same JPEG files in the same run, by turns, with one worker process each, on one
core (a worker of ours has two threads, which would be two cores against one), and do the same to
them: decode, random resized crop (bicubic), flip, RandAugment (rand-m9-mstd0.5-inc1). Both give
uint8 batches, which are normalised on the device: so timm's loader is the one that its prefetcher
wraps, and does not normalise in the worker. Both decode with Pillow, which decodes with
libjpeg-turbo: so the pixels are those that the published recipes were trained on. Ours reads
ArrayRecord files that `image_folder` made; timm's reads the files themselves. Without --images it
makes 500 x 375 JPEGs.

Needs timm and torchvision (requirements-parity.txt). Writes results.json into --out.
"""

import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator

import ml_collections
import numpy as np
import PIL
from absl import flags
from etils import epath
from PIL import Image, ImageFilter, ImageOps, features

from renyi_jax.cli import commands
from renyi_jax.config import check_config, default_config
from renyi_jax.data.datasets import load_dataset
from renyi_jax.data.pipeline import train_loader
from renyi_jax.errors import UserError
from renyi_jax.measuring.torch_peers import import_timm

_OUT = flags.DEFINE_string("out", None, "Folder for what this writes.", required=True)
_IMAGES = flags.DEFINE_string("images", None, "Folder of train/CLASS/*.jpg and test/CLASS/*.jpg.")
_NUM_IMAGES = flags.DEFINE_integer("num_images", 512, "How many are made.", lower_bound=64)
_BATCHES = flags.DEFINE_integer("batches", 12, "Batches that are timed in each turn.")
_TURNS = flags.DEFINE_integer("turns", 5, "How often each side is timed.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images of a batch.")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make_images(folder: epath.Path, count: int) -> None:
    """JPEGs of 500 x 375 pixels, of smooth colours with grain."""
    rng = np.random.default_rng(0)
    for index in range(count + 2):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).resize((500, 375))
        grain = Image.fromarray(rng.integers(0, 256, (375, 500, 3), np.uint8))
        photo = Image.blend(coarse, grain.filter(ImageFilter.GaussianBlur(1)), 0.3)
        split = "train" if index < count else "test"
        path = folder / split / str(index % 2) / f"{index:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        photo.save(buffer, "JPEG", quality=90)
        path.write_bytes(buffer.getvalue())


def our_batches(images: epath.Path, out: epath.Path) -> Callable[[], Iterator]:
    config = default_config()
    config.data.update(
        {
            "name": "image_folder",
            "data_dir": str(out / "prepared"),
            "manual_dir": str(images),
            "random_resized_crop": True,
            "flip": True,
            "rand_augment": 9.0,
        }
    )
    options = ml_collections.ConfigDict(check_config(config).data)
    dataset = load_dataset(options)
    return lambda: train_loader(
        dataset,
        options,
        batch_size=_BATCH_SIZE.value,
        image_size=224,
        seed=0,
        mean=MEAN,
        std=STD,
        num_workers=1,
    )


def timm_batches(images: epath.Path) -> Callable[[], Iterator]:
    try:
        import_timm()
        import torch
        from timm.data import auto_augment, create_dataset, create_loader
    except ImportError as error:
        raise UserError(f"{error}: it needs what requirements-parity.txt lists.") from None

    def posterize(image: Image.Image, bits: int, **_) -> Image.Image:
        # At full strength timm asks for no bits, which Pillow 13 refuses.
        return ImageOps.posterize(image, max(1, bits))

    auto_augment.NAME_TO_OP["PosterizeIncreasing"] = posterize
    dataset = create_dataset("", root=str(images / "train"), is_training=True)
    loader = create_loader(
        dataset,
        input_size=(3, 224, 224),
        batch_size=_BATCH_SIZE.value,
        is_training=True,
        use_prefetcher=True,
        no_aug=False,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        hflip=0.5,
        color_jitter=None,
        auto_augment="rand-m9-mstd0.5-inc1",
        interpolation="bicubic",
        mean=MEAN,
        std=STD,
        num_workers=1,
        persistent_workers=True,
        device=torch.device("cpu"),
    )

    def epochs() -> Iterator:
        while True:
            yield from loader.loader

    return epochs


def images_per_second(batches: Iterator) -> float:
    """Of a side that has started: its first batches, made while the other ran, are not counted."""
    for _ in range(10):
        next(batches)
    start = time.perf_counter()
    for _ in range(_BATCHES.value):
        next(batches)
    return _BATCHES.value * _BATCH_SIZE.value / (time.perf_counter() - start)


def main() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])  # the workers inherit it
    out = epath.Path(_OUT.value).expanduser()
    out.mkdir(parents=True, exist_ok=True)
    images = epath.Path(_IMAGES.value or out / "images").expanduser()
    if not _IMAGES.value and not images.exists():
        make_images(images, _NUM_IMAGES.value)
    sides = {"renyi_jax": our_batches(images, out), "timm": timm_batches(images)}
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(_TURNS.value):
        for name, start in sides.items():
            # A worker of its own in each turn, so that the other side's is not at work.
            batches = start()
            speeds[name].append(images_per_second(batches))
            if hasattr(batches, "close"):
                batches.close()
            del batches
            print(f"{name}: {speeds[name][-1]:.1f} images per second", flush=True)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = [ours / theirs for ours, theirs in zip(speeds["renyi_jax"], speeds["timm"])]
    results = {
        "images_per_second": speeds,
        "median": medians,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "pillow": PIL.__version__,
        "libjpeg_turbo": features.version("libjpeg_turbo"),
        "machine": platform.platform(),
    }
    beside = out / ".results.json.part"
    beside.write_text(json.dumps(results, indent=2) + "\n")
    beside.replace(out / "results.json")
    print(f"renyi_jax / timm: {results['ratio']:.2f} (median of {_TURNS.value} turns)")


if __name__ == "__main__":
    commands.run(main)
