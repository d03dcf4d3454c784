"""Converts weights: a file of timm into one of this project, or a trained model into one for timm.

Both have timm's names, so either side reads what the other writes; --input is anything that
load_weights takes. The result is safetensors, in float32 unless --dtype says otherwise, for the
image size and the classes that the input has unless the flags say otherwise.

  python -m renyi_jax.convert --model=deit_small_patch16_224 --input=deit_small.pth \\
      --output=deit_small_384.safetensors --image_size=384
"""

from pathlib import Path

from absl import flags
from flax import nnx

from renyi_jax import commands
from renyi_jax.errors import UserError
from renyi_jax.models.fit import source_grid
from renyi_jax.models.registry import create_model, model_spec
from renyi_jax.models.spec import ModelSpec
from renyi_jax.models.weights import FILE_DTYPES, fill, save_weights
from renyi_jax.weights import Checkpoint, read_checkpoint

_MODEL = flags.DEFINE_string("model", None, "Name of the model.", required=True)
_INPUT = flags.DEFINE_string(
    "input",
    None,
    "Weights to read: a file, a directory with model.safetensors, hf_hub:timm/NAME, or"
    " embedded:NAME.",
    required=True,
)
_OUTPUT = flags.DEFINE_string("output", None, "The .safetensors file to write.", required=True)
_IMAGE_SIZE = flags.DEFINE_list(
    "image_size",
    None,
    "Side, or height,width, in pixels, to which the positional embedding is resized.",
)
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes",
    None,
    "Outputs of the head, 0 for none; a number that the input does not have makes a random head.",
    lower_bound=0,
)
_DTYPE = flags.DEFINE_enum("dtype", "float32", list(FILE_DTYPES), "Of the file's numbers.")


def main() -> None:
    spec = model_spec(_MODEL.value)
    source, target = _INPUT.value, Path(_OUTPUT.value)
    if target.suffix != ".safetensors":
        raise UserError(f"--output={target}: expected a name that ends in .safetensors.")
    checkpoint = read_checkpoint(source)
    if target.exists() and target.samefile(checkpoint.path):
        raise UserError(f"--output={target} is the input; give another name.")
    model = create_model(
        _MODEL.value,
        num_classes=_num_classes(checkpoint),
        image_size=_image_size(spec, checkpoint),
        rngs=nnx.Rngs(0),
    )
    fill(model, checkpoint)
    save_weights(model, target, _DTYPE.value)
    height, width = model.spec.image_size
    print(
        f"Wrote {target}: {_MODEL.value}, {height} x {width} pixels,"
        f" {model.spec.num_classes} classes, {_DTYPE.value}."
    )


def _num_classes(checkpoint: Checkpoint) -> int:
    if _NUM_CLASSES.value is not None:
        return _NUM_CLASSES.value
    head = checkpoint.tensors.get("head.bias")
    return 0 if head is None else len(head)


def _image_size(spec: ModelSpec, checkpoint: Checkpoint) -> int | tuple[int, int] | None:
    if _IMAGE_SIZE.value is not None:
        sides = [int(side) for side in _IMAGE_SIZE.value if side.strip().isdigit()]
        if len(sides) != len(_IMAGE_SIZE.value) or len(sides) not in (1, 2):
            raise UserError(
                f"--image_size={','.join(_IMAGE_SIZE.value)}: expected a side, or height,width."
            )
        return sides[0], sides[-1]
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    grid = source_grid(spec, shapes, checkpoint.metadata)
    return None if grid is None else (grid[0] * spec.patch_size, grid[1] * spec.patch_size)


if __name__ == "__main__":
    commands.run(main)
