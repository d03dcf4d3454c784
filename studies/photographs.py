"""Cuts the photographs of scikit-image into crops, in the layout of the data set `image_folder`.

pip install scikit-image
python -m studies.photographs --out=runs/photographs

OUT/train and OUT/test are the data set; OUT/others are crops of other pictures, to plan on.
"""

from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from renyi_jax.cli import commands
from renyi_jax.common.files import output_folder
from renyi_jax.errors import UserError

_OUT = flags.DEFINE_string("out", None, "Folder to write to.", required=True)

NAMES = (
    *("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"),
    *("hubble_deep_field.jpg", "motorcycle_left.png", "retina.jpg", "rocket.jpg"),
)
OTHERS = (
    *("brick.png", "cell.png", "clock_motion.png", "grass.png", "gravel.png", "ihc.png"),
    *("microaneurysms.png", "moon.png"),
)
SHARE = 0.7


def main() -> None:
    try:
        import skimage.data
    except ImportError:
        raise UserError(
            "The photographs come with scikit-image: pip install scikit-image"
        ) from None
    out = output_folder("--out", _OUT.value)
    for name in (*NAMES, *OTHERS):
        picture = Image.open(Path(skimage.data.__file__).parent / name).convert("RGB")
        for number, crop in enumerate(crops(picture)):
            # A data set has two splits: this study trains on none.
            splits = ("train", "test") if number == 0 else ("test",)
            for split in splits if name in NAMES else ("others",):
                file = Path(out) / split / Path(name).stem / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                crop.save(file)


def crops(picture: Image.Image) -> list[Image.Image]:
    """Five squares: the middle and the corners, each `SHARE` of the shorter side."""
    side = round(SHARE * min(picture.size))
    room = np.array(picture.size) - side
    corners = [room / 2, (0, 0), (room[0], 0), (0, room[1]), room]
    return [
        picture.crop((round(x), round(y), round(x) + side, round(y) + side)) for x, y in corners
    ]


if __name__ == "__main__":
    commands.run(main)
