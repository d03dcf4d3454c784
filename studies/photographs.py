"""Cuts the photographs that scikit-image, scikit-learn and matplotlib bring with them into crops.

pip install scikit-image scikit-learn matplotlib
python -m studies.photographs --out=runs/photographs

OUT/train and OUT/test are crops of nine, in the layout of the data set `image_folder`;
OUT/others are crops of other photographs, to plan on.
"""

import importlib.util
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from renyi_jax.cli import commands
from renyi_jax.common.files import output_folder
from renyi_jax.errors import UserError

_OUT = flags.DEFINE_string("out", None, "Folder to write to.", required=True)

SKIMAGE = "skimage/data/"
NAMES = (
    *("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"),
    *("hubble_deep_field.jpg", "motorcycle_left.png", "retina.jpg", "rocket.jpg"),
)
OTHERS = (
    *("brick.png", "cell.png", "clock_motion.png", "grass.png", "gravel.png", "ihc.png"),
    *("microaneurysms.png", "moon.png"),
)
ELSEWHERE = (
    *("sklearn/datasets/images/china.jpg", "sklearn/datasets/images/flower.jpg"),
    "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
)
SHARE = 0.7
SHARES = (0.5, 0.6, SHARE, 0.8, 0.9)


def main() -> None:
    others = [_find(name) for name in (*(SKIMAGE + name for name in OTHERS), *ELSEWHERE)]
    test = [_find(SKIMAGE + name) for name in NAMES]
    out = Path(output_folder("--out", _OUT.value))
    for path in test:
        found = crops(path, SHARE)
        _save(found, out / "test" / path.stem)
        _save(found[:1], out / "train" / path.stem)  # A data set has two splits: none trains here.
    for path in others:
        found = [crop for share in SHARES for crop in crops(path, share)]
        _save(found, out / "others" / path.stem)


def crops(path: Path, share: float) -> list[Image.Image]:
    """Five squares: the middle and the corners, each `share` of the shorter side."""
    picture = Image.open(path).convert("RGB")
    side = round(share * min(picture.size))
    room = np.array(picture.size) - side
    corners = [room / 2, (0, 0), (room[0], 0), (0, room[1]), room]
    return [
        picture.crop((round(x), round(y), round(x) + side, round(y) + side)) for x, y in corners
    ]


def _find(name: str) -> Path:
    """The file of a package, which is not imported."""
    package, _, rest = name.partition("/")
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise UserError(
            "The photographs come with packages: pip install scikit-image scikit-learn matplotlib"
        )
    return Path(found.origin).parent / rest


def _save(images: list[Image.Image], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")


if __name__ == "__main__":
    commands.run(main)
