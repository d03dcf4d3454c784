"""Converts weights: those of other projects into a file of this one, or a trained model for timm.

The result has timm's names, so either side reads what the other writes; --weights is anything that
load_weights takes, training checkpoints and the files of transformers too. It is safetensors, in
float32 unless --dtype says otherwise, for the image size and the classes of --weights unless the
flags say otherwise.

  python -m renyi_jax.convert --model=deit_small_patch16_224 --weights=deit_small.pth \\
      --out=deit_small_384.safetensors --image_size=384
"""

import os

from absl import flags

from renyi_jax.cli import commands
from renyi_jax.cli.model import define_image_size, define_state
from renyi_jax.cli.values import define
from renyi_jax.common.fields import MAX_CLASSES, integer
from renyi_jax.common.files import output_file
from renyi_jax.errors import UserError
from renyi_jax.models import load, save_weights
from renyi_jax.models.weights import FILE_DTYPES
from renyi_jax.weights.locate import locate

_MODEL = flags.DEFINE_string("model", None, "Name of the model; that of the weights.")
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "Weights to read: a file, a folder of them, hf_hub:OWNER/NAME, or embedded:NAME.",
    required=True,
)
_OUT = flags.DEFINE_string("out", None, "The .safetensors file to write.", required=True)
_STATE = define_state()
_IMAGE_SIZE = define_image_size()
_NUM_CLASSES = define(
    "num_classes",
    integer(0, 0, MAX_CLASSES),
    "Outputs of the head, 0 for none; a number that the weights do not have makes a random head.",
    default=None,
)
_DTYPE = flags.DEFINE_enum("dtype", "float32", list(FILE_DTYPES), "Of the file's numbers.")


def main() -> None:
    target = output_file("--out", _OUT.value)
    if target.suffix != ".safetensors":
        raise UserError(f"--out={target}: expected a name that ends in .safetensors.")
    if target.exists() and os.path.samefile(target, locate(_WEIGHTS.value)):
        raise UserError(f"--out={target} is the file of --weights; give another name.")
    loaded = load(
        _WEIGHTS.value,
        model=_MODEL.value,
        num_classes=_NUM_CLASSES.value,
        image_size=_IMAGE_SIZE.value or None,
        state=_STATE.value,
    )
    save_weights(loaded.model, target, _DTYPE.value, loaded.class_names)
    spec = loaded.model.spec
    height, width = spec.image_size
    print(
        f"Wrote {target}: {spec.name}, {height} x {width} pixels, {spec.num_classes}"
        f" classes, {_DTYPE.value}."
    )


if __name__ == "__main__":
    commands.run(main)
