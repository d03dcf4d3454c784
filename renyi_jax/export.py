"""Writes a pruned model as a file that runs without this package, at any batch size.

The weights are in it; a JSON file beside it says what it takes and gives. To run it:

  jax.export.deserialize(bytearray(open("model.jax", "rb").read())).call(images)
  onnxruntime.InferenceSession("model.onnx").run(None, {"images": images})

  python -m renyi_jax.export --model=deit_small_patch16_224 --weights=deit_small.safetensors \\
      --keep_rate=0.7 --alpha=2 --format=onnx --out=model.onnx

--format=web writes a folder of static files: a page that runs the model in the browser, where a
picture, alpha and the keep rate can be chosen. Any web server can serve it:

  python -m renyi_jax.export --weights=runs/quickstart --format=web --out=page
  python -m http.server --directory=page
"""

import jax
from absl import flags

from renyi_jax.cli import commands
from renyi_jax.cli.model import define_class_names, define_model
from renyi_jax.cli.values import define
from renyi_jax.cli.web import define_web
from renyi_jax.common.extras import needs
from renyi_jax.common.fields import one_of, several
from renyi_jax.common.files import output_file, write_bytes, write_json
from renyi_jax.common.progress import phase
from renyi_jax.inference.artifact import (
    INPUTS,
    PLATFORMS,
    describe_artifact,
    deviation,
    export_model,
)
from renyi_jax.inference.onnx_file import PACKAGES, export_onnx
from renyi_jax.models.classes import check_class_names

_load_model = define_model()
_OUT = flags.DEFINE_string(
    "out",
    None,
    "The file to write; NAME.json comes beside it. Of a page, the folder.",
    required=True,
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "jax",
    ["jax", "onnx", "web"],
    "What runs it: JAX alone, ONNX Runtime and its like, or a browser.",
)
_write_page = define_web()
_ALPHA_INPUT = flags.DEFINE_bool(
    "alpha_input", False, "Make alpha a second argument, instead of a part of the program."
)
_INPUT = flags.DEFINE_enum(
    "input", "float32", list(INPUTS), "Normalised images, or pixels that the program normalises."
)
_TRACE = flags.DEFINE_bool(
    "trace", False, "ONNX: also give the scores and the kept patches of every pruned block."
)
_PLATFORMS = define(
    "platforms",
    several(("cpu", "cuda", "tpu"), one_of("cpu", PLATFORMS)),
    f"JAX: where it shall run, of {', '.join(PLATFORMS)}.",
)
_class_names = define_class_names()


def main() -> None:
    names = _class_names()
    if _FORMAT.value == "web":
        _write_page(_load_model, _OUT.value, class_names=names)
        return
    if _FORMAT.value == "onnx":
        needs("onnx", *PACKAGES)
    target = output_file("--out", _OUT.value)
    description_file = output_file("--out", target.with_name(f"{target.name}.json"))
    model, noted_names = _load_model()
    if names is not None:
        check_class_names(names, model.spec.num_classes)
    write = _onnx if _FORMAT.value == "onnx" else _jax
    options = {"alpha_input": _ALPHA_INPUT.value, "input_dtype": _INPUT.value}
    data, description, runs = write(model, names or noted_names, options)
    write_json(description_file, description)
    write_bytes(target, data)
    print(
        f"Wrote {target}: {len(data) / 1e6:.1f} MB, for {runs}; {description_file.name} says what"
        " it takes."
    )
    if description["deviation"] is not None:
        print(
            f"Run here, it differs from the model by {description['deviation']:.1e} of the largest"
            " logit at most."
        )


def _jax(model, names, options):
    with phase(f"Exporting for {', '.join(_PLATFORMS.value)}"):
        exported = export_model(model, platforms=_PLATFORMS.value, **options)
    description = describe_artifact(model, exported, names)
    here = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
    description["deviation"] = None
    if here in exported.platforms:
        with phase("Comparing it with the model"):
            description["deviation"] = deviation(model, exported.call, exported.in_avals)
    return bytes(exported.serialize()), description, ", ".join(exported.platforms)


def _onnx(model, names, options):
    options = {"trace": _TRACE.value, "class_names": names, **options}
    with phase("Converting to ONNX, and comparing it with the model"):
        converted, description = export_onnx(model, **options)
    return converted.SerializeToString(), description, f"ONNX operators {description['opset']}"


if __name__ == "__main__":
    commands.run(main)
