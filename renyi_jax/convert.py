"""Converts weights: a file of timm into one of this project, or a trained model into one for timm.

Both have timm's names, so either side reads what the other writes; --input is anything that
load_weights takes. The result is safetensors, in float32 unless --dtype says otherwise, for the
image size and the classes that the input has unless the flags say otherwise.

  python -m renyi_jax.convert --model=deit_small_patch16_224 --input=deit_small.pth \\
      --output=deit_small_384.safetensors --image_size=384
"""

from pathlib import Path

from absl import flags

from renyi_jax.cli import commands
from renyi_jax.cli.model import define_image_size, image_size
from renyi_jax.errors import UserError
from renyi_jax.models.load import model_from
from renyi_jax.models.notes import read_notes
from renyi_jax.models.weights import FILE_DTYPES, save_weights
from renyi_jax.weights import read_checkpoint

_MODEL = flags.DEFINE_string("model", None, "Name of the model.", required=True)
_INPUT = flags.DEFINE_string(
    "input",
    None,
    "Weights to read: a file, a directory with model.safetensors, hf_hub:timm/NAME, or"
    " embedded:NAME.",
    required=True,
)
_OUTPUT = flags.DEFINE_string("output", None, "The .safetensors file to write.", required=True)
_IMAGE_SIZE = define_image_size()
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes",
    None,
    "Outputs of the head, 0 for none; a number that the input does not have makes a random head.",
    lower_bound=0,
)
_DTYPE = flags.DEFINE_enum("dtype", "float32", list(FILE_DTYPES), "Of the file's numbers.")


def main() -> None:
    source, target = _INPUT.value, Path(_OUTPUT.value)
    if target.suffix != ".safetensors":
        raise UserError(f"--output={target}: expected a name that ends in .safetensors.")
    checkpoint = read_checkpoint(source)
    if target.exists() and target.samefile(checkpoint.path):
        raise UserError(f"--output={target} is the input; give another name.")
    model = model_from(
        checkpoint,
        _MODEL.value,
        num_classes=_NUM_CLASSES.value,
        image_size=image_size(_IMAGE_SIZE.value),
    )
    notes = read_notes(checkpoint.metadata, checkpoint.path)
    names = notes.class_names
    if names is not None and len(names) != model.spec.num_classes:
        names = None  # of a classifier that is not written
    save_weights(model.with_pruning(notes.pruning), target, _DTYPE.value, names)
    height, width = model.spec.image_size
    print(
        f"Wrote {target}: {_MODEL.value}, {height} x {width} pixels,"
        f" {model.spec.num_classes} classes, {_DTYPE.value}."
    )


if __name__ == "__main__":
    commands.run(main)
