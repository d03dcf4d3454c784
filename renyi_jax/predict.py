"""Names what is in images, with a model that prunes.

Prints the most probable classes of each image. --image takes a file or a folder, and may be
repeated; further arguments are images too, so that a pattern of the shell works. An image that
cannot be read is told at the end, with exit status 2, once all others are done.

  python -m renyi_jax.predict --model=deit_small_patch16_224 --weights=deit_small.safetensors \\
      --class_names=imagenet --save-kept --out=predictions --image photos/*.jpg

The weights that renyi_jax.main writes say themselves of which model they are, how it is pruned, and
what its classes are called:

  python -m renyi_jax.predict --weights=runs/quickstart --image photos/*.jpg
"""

import itertools
from typing import Any

from absl import flags
from PIL import Image

from renyi_jax.analysis.patch_maps import grey_out
from renyi_jax.cli import commands
from renyi_jax.cli.images import define_images, find_images, parse_images, tell_refused
from renyi_jax.cli.model import define_class_names, define_model
from renyi_jax.cli.values import define
from renyi_jax.common.fields import MAX_BATCH, integer
from renyi_jax.common.files import output_folder, writing
from renyi_jax.common.progress import phase, progress, tell
from renyi_jax.common.provenance import write_results
from renyi_jax.errors import UserError
from renyi_jax.images import printable, short_name
from renyi_jax.inference import Classifier, Prediction, describe
from renyi_jax.models.flops import require_forward

_load_model = define_model()
_IMAGES = define_images()
_class_names = define_class_names()
_TOP = define("top", integer(5, 1), "Classes told of each image.")
_BATCH_SIZE = define("batch_size", integer(16, 1, MAX_BATCH), "Images at a time.")
_OUT = flags.DEFINE_string("out", None, "Folder for results.json and what --save_kept writes.")
_SAVE_KEPT = flags.DEFINE_bool(
    "save_kept", False, "Write each image into --out with its dropped patches greyed out."
)
flags.DEFINE_alias("save-kept", "save_kept")

_OVERLAY_SIDE = 448


def main() -> None:
    folder = output_folder("--out", _OUT.value) if _OUT.value is not None else None
    if _SAVE_KEPT.value and folder is None:
        raise UserError("--save_kept needs --out=DIR, a folder for what it writes.")
    names = _class_names()
    files, refused = find_images(_IMAGES.value)
    model, noted_names = _load_model()
    # Of few images the next power of 2: few programs to compile, and few places to fill up.
    batch_size = min(_BATCH_SIZE.value, 1 << max(0, len(files) - 1).bit_length())
    require_forward(model.spec, batch_size, f"--batch_size={batch_size}")
    classifier = Classifier(model, names or noted_names, batch_size)

    predictions = classifier(files)
    with phase("Compiling the model, and classifying the first images"):
        first = list(itertools.islice(predictions, 1))
    predictions = itertools.chain(first, predictions)
    rows: list[dict[str, Any]] = []
    for file, prediction in progress(
        zip(files, predictions), "Classifying", unit="image", total=len(files)
    ):
        if isinstance(prediction, UserError):
            refused.append(prediction)
            continue
        best = prediction.top(_TOP.value)
        words = ", ".join(f"{name} {100 * share:.1f} %" for name, share in best)
        tell(f"{printable(file)}: {words}")
        names, shares = map(list, zip(*best))
        row = {"image": printable(file), "classes": names, "probabilities": shares}
        rows.append(row | {"patches_kept": int(prediction.kept.sum())})
        if folder and _SAVE_KEPT.value:
            name = f"{len(rows):04d}_{short_name(file)}.png"
            rows[-1]["kept"] = _save_overlay(folder, name, prediction)
    if folder:
        results = {"model": describe(model), "images": rows, "refused": list(map(str, refused))}
        write_results(folder / "results.json", results)
    tell_refused(refused, len(rows) + len(refused))


def _save_overlay(folder: Any, name: str, prediction: Prediction) -> str:
    """Writes the image as the model saw it, where it is small enlarged to whole pixels."""
    overlay = Image.fromarray(grey_out(prediction.pixels, prediction.kept))
    factor = max(1, _OVERLAY_SIDE // max(overlay.size))
    overlay = overlay.resize(
        (overlay.width * factor, overlay.height * factor), Image.Resampling.NEAREST
    )
    with writing(folder / name) as file:
        overlay.save(file, "PNG")
    return name


if __name__ == "__main__":
    commands.run(main, parse_images)
