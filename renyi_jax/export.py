"""Writes a pruned model as one file that JAX runs without this package, at any batch size.

The weights are in it; a JSON file beside it says what it takes and gives. To run it:

  jax.export.deserialize(bytearray(open("model.jax", "rb").read())).call(images)

  python -m renyi_jax.export --model=deit_small_patch16_224 --weights=deit_small.safetensors \\
      --keep_rate=0.7 --alpha=2 --out=model.jax
"""

import jax
from absl import flags

from renyi_jax.cli import commands
from renyi_jax.cli.model import define_model
from renyi_jax.cli.values import define
from renyi_jax.common.fields import one_of, several
from renyi_jax.common.files import output_file, write_bytes, write_json
from renyi_jax.common.progress import phase
from renyi_jax.inference import read_class_names
from renyi_jax.inference.artifact import (
    INPUTS,
    PLATFORMS,
    describe_artifact,
    deviation,
    export_model,
)
from renyi_jax.inference.classify import check_class_names

_load_model = define_model()
_OUT = flags.DEFINE_string(
    "out", None, "The file to write; NAME.json comes beside it.", required=True
)
_ALPHA_INPUT = flags.DEFINE_bool(
    "alpha_input", False, "Make alpha a second argument, instead of a part of the program."
)
_INPUT = flags.DEFINE_enum(
    "input", "float32", list(INPUTS), "Normalised images, or pixels that the program normalises."
)
_PLATFORMS = define(
    "platforms",
    several(("cpu", "cuda", "tpu"), one_of("cpu", PLATFORMS)),
    f"Where it shall run, of {', '.join(PLATFORMS)}.",
)
_CLASS_NAMES = flags.DEFINE_string(
    "class_names",
    None,
    "Text file of the class names, one a line, to be noted beside it; those noted in the weights"
    " by default.",
)


def main() -> None:
    target = output_file("--out", _OUT.value)
    description_file = output_file("--out", target.with_name(f"{target.name}.json"))
    names = read_class_names(_CLASS_NAMES.value) if _CLASS_NAMES.value is not None else None
    model, noted_names = _load_model()
    if names is not None:
        check_class_names(names, model.spec.num_classes)
    with phase(f"Exporting for {', '.join(_PLATFORMS.value)}"):
        exported = export_model(
            model,
            alpha_input=_ALPHA_INPUT.value,
            input_dtype=_INPUT.value,
            platforms=_PLATFORMS.value,
        )
    description = describe_artifact(model, exported, names or noted_names)
    data = bytes(exported.serialize())
    write_json(description_file, description)
    write_bytes(target, data)
    size = f"{len(data) / 1e6:.1f} MB, for {', '.join(exported.platforms)}"
    print(f"Wrote {target}: {size}; {description_file.name} says what it takes.")
    if {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend()) in exported.platforms:
        print(f"Run here, it differs from the model by {deviation(model, exported):.1e} at most.")


if __name__ == "__main__":
    commands.run(main)
