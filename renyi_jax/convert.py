"""Converts weights: those of other projects into a file of this one, or a trained model for timm.

The result has timm's names, so either side reads what the other writes; --weights is anything that
load_weights takes, training checkpoints and the files of transformers too. It is safetensors, in
float32 unless --dtype says otherwise, for the image size and the classes of --weights unless the
flags say otherwise.

  python -m renyi_jax.convert --model=deit_small_patch16_224 --weights=deit_small.pth \\
      --out=deit_small_384.safetensors --image_size=384

--push uploads the result to the Hugging Face hub, with the model card and the results of the run
that lie beside --weights; hf_hub:OWNER/NAME is then what any --weights takes:

  python -m renyi_jax.convert --weights=runs/quickstart --push=hf_hub:OWNER/NAME
"""

import os
import tempfile
from pathlib import Path

from absl import flags, logging
from etils import epath

from renyi_jax.cli import commands
from renyi_jax.cli.model import define_image_size, define_state, define_weights
from renyi_jax.cli.values import define
from renyi_jax.common.fields import MAX_CLASSES, integer
from renyi_jax.common.files import output_file
from renyi_jax.common.progress import phase
from renyi_jax.errors import UserError
from renyi_jax.models import load, save_weights
from renyi_jax.models.weights import FILE_DTYPES
from renyi_jax.weights.locate import FILES, locate
from renyi_jax.weights.push import hub_repository, push

_MODEL = flags.DEFINE_string("model", None, "Name of the model; that of the weights.")
_WEIGHTS = define_weights(required=True)
_OUT = flags.DEFINE_string("out", None, "The .safetensors file to write.")
_PUSH = flags.DEFINE_string(
    "push", None, "Or, or also, the repository to upload it to: hf_hub:OWNER/NAME."
)
_STATE = define_state()
_IMAGE_SIZE = define_image_size()
_NUM_CLASSES = define(
    "num_classes",
    integer(0, 0, MAX_CLASSES),
    "Outputs of the head, 0 for none; a number that the weights do not have makes a random head.",
    default=None,
)
_DTYPE = flags.DEFINE_enum("dtype", "float32", list(FILE_DTYPES), "Of the file's numbers.")


_BESIDE = ("README.md", "results.json")
"""What a run leaves beside its weights and others want to see: the model card, and its source."""


def main() -> None:
    if _OUT.value is None and _PUSH.value is None:
        raise UserError("Give --out=FILE, --push=hf_hub:OWNER/NAME, or both.")
    repository = hub_repository("--push", _PUSH.value) if _PUSH.value is not None else None
    target = _target(_OUT.value) if _OUT.value is not None else None
    loaded = load(
        _WEIGHTS.value,
        model=_MODEL.value,
        num_classes=_NUM_CLASSES.value,
        image_size=_IMAGE_SIZE.value or None,
        state=_STATE.value,
    )
    spec = loaded.model.spec
    height, width = spec.image_size
    words = f"{spec.name}, {height} x {width} pixels, {spec.num_classes} classes, {_DTYPE.value}"
    with tempfile.TemporaryDirectory() as folder:
        file = target or epath.Path(folder, FILES[0])
        save_weights(loaded.model, file, _DTYPE.value, loaded.class_names)
        if target is not None:
            print(f"Wrote {target}: {words}.")
        if repository is not None:
            beside = _beside(locate(_WEIGHTS.value))
            with phase(f"Uploading to {repository}"):
                address = push(repository, {FILES[0]: file, **beside})
            print(f"Uploaded to {address}: {words}; {', '.join((FILES[0], *beside))}.")


def _target(out: str) -> epath.Path:
    target = output_file("--out", out)
    if target.suffix != ".safetensors":
        raise UserError(f"--out={target}: expected a name that ends in .safetensors.")
    if target.exists() and os.path.samefile(target, locate(_WEIGHTS.value)):
        raise UserError(f"--out={target} is the file of --weights; give another name.")
    return target


def _beside(weights: Path) -> dict[str, Path]:
    """The files of `_BESIDE` that there are, by their names."""
    files = {name: weights.with_name(name) for name in _BESIDE}
    found = {name: file for name, file in files.items() if file.is_file()}
    if _BESIDE[0] not in found:
        logging.warning("There is no model card %s: the repository gets none.", files[_BESIDE[0]])
    return found


if __name__ == "__main__":
    commands.run(main)
