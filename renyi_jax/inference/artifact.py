"""A model as one file that runs wherever JAX does, without this package."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from renyi_jax.errors import UserError, check_known
from renyi_jax.models import Forward, VisionTransformer, flops, weights_of

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
INPUTS = ("float32", "uint8")

_MEANINGS = {
    "float32": "RGB, each channel as (pixel / 255 - mean) / std",
    "uint8": "RGB pixels from 0 to 255; the program normalises them",
    "alpha": "order of the entropy, above 0",
    "logits": "logits of the classes",
    "features": "features, as no head exists",
    "scores": "importance of the patches that enter the block; an entropy's is -H, in nats",
    "kept": "positions in the patch grid, row by row, of the patches that leave the block",
}


class Program(NamedTuple):
    """A model with its weights as a function of named arrays, for any batch size."""

    # takes the inputs in their order, and returns the outputs by name
    call: Callable[..., dict[str, Array]]
    inputs: dict[str, jax.ShapeDtypeStruct]  # shapes by name: "images", and perhaps "alpha"
    # shapes by name: "logits" (or "features"), and with a trace "scores_4" and "kept_4" for block
    # 4, and so on
    outputs: dict[str, jax.ShapeDtypeStruct]


def program(
    model: VisionTransformer,
    *,
    alpha_input: bool = False,
    input_dtype: str = "float32",
    trace: bool = False,
) -> Program:
    """Returns the model as a program.

    Args:
        alpha_input: whether the order of the entropy is an input, a float32 scalar; else it is the
            model's.
        input_dtype: "float32": images normalised by the mean and deviation of `model.spec`;
            "uint8": pixels from 0 to 255, which the program normalises.
        trace: whether the scores and the kept patches of every pruned block are outputs.

    Raises UserError: an unknown dtype, or a model whose pruning has no order.
    """
    check_known("input_dtype", input_dtype, INPUTS)
    spec, pruning = model.spec, model.pruning
    if alpha_input and not (pruning and pruning.matters("alpha")):
        raise UserError("Without a criterion that has an order, alpha cannot be an input.")
    forward = functools.partial(Forward.of(model), weights_of(model))
    names = ["logits" if spec.num_classes else "features"]
    for block in pruning.blocks if pruning and trace else ():
        names += [f"scores_{block}", f"kept_{block}"]

    def call(images: Array, *alpha: Array) -> dict[str, Array]:
        outputs, traces = forward(images, *alpha, return_trace=True)
        return dict(zip(names, (outputs, *jax.tree.leaves(traces))))

    (batch,) = jax.export.symbolic_shape("batch")
    inputs = {"images": jax.ShapeDtypeStruct((batch, *spec.image_size, 3), jnp.dtype(input_dtype))}
    if alpha_input:
        inputs["alpha"] = jax.ShapeDtypeStruct((), jnp.float32)
    outputs = jax.eval_shape(call, *inputs.values())
    return Program(call, inputs, {name: outputs[name] for name in names})


def export_model(
    model: VisionTransformer,
    *,
    alpha_input: bool = False,
    input_dtype: str = "float32",
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> jax.export.Exported:
    """Exports the model as a program of JAX with its weights in it, for any batch size.

    Args:
        alpha_input: as `program` has it; the order is the second argument.
        platforms: where it shall run, of `PLATFORMS`.

    Raises UserError: an unknown platform; and as `program`.
    """
    for each in platforms:
        check_known("platform", each, PLATFORMS)
    call, inputs, (output, *_) = program(model, alpha_input=alpha_input, input_dtype=input_dtype)
    forward = jax.jit(lambda *arrays: call(*arrays)[output])
    return jax.export.export(forward, platforms=tuple(platforms))(*inputs.values())


def describe_artifact(
    model: VisionTransformer,
    exported: jax.export.Exported,
    class_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Returns all that has to be known to give the artifact images, as JSON holds it."""
    inputs: dict[str, Any] = dict(zip(("images", "alpha"), exported.in_avals))
    output = "logits" if model.spec.num_classes else "features"
    return {
        **describe_program(model, inputs, {output: exported.out_avals[0]}, class_names),
        "platforms": list(exported.platforms),
        "jax": jax.__version__,
        "calling_convention_version": exported.calling_convention_version,
        "needs": ["jax", "flatbuffers"],
        "how_to_run": "jax.export.deserialize(bytearray(open(FILE, 'rb').read())).call("
        + f"{', '.join(inputs)})",
    }


def describe_program(
    model: VisionTransformer,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    class_names: Sequence[str] | None,
) -> dict[str, Any]:
    """Returns what any file with the model says of it."""
    return {
        **describe(model),
        "inputs": [_port(name, each) for name, each in inputs.items()],
        "outputs": [_port(name, each) for name, each in outputs.items()],
        "preprocessing": (
            f"resize the image with {model.spec.interpolation} interpolation, its shape kept,"
            " until its shorter side is that of image_size / crop_pct; take the middle"
        ),
        "class_names": list(class_names) if class_names is not None else None,
    }


def deviation(
    model: VisionTransformer,
    run: Callable[..., Any],
    inputs: Iterable[Any],
    batch_sizes: Sequence[int] = (1, 3),
) -> float:
    """Returns the largest difference of a file's logits from the model's, over the largest logit.

    Args:
        run: runs what was written: from the inputs to the logits.
        inputs: its shapes: of images, and perhaps of alpha.
    """
    first, *rest = inputs
    alpha = (np.float32(2.0),) * len(rest)
    rng = np.random.default_rng(0)
    forward = Forward.of(model)
    expect = functools.partial(jax.jit(forward), weights_of(model))

    def of_batch(size: int) -> float:
        pixels = rng.integers(0, 256, (size, *model.spec.image_size, 3), np.uint8)
        expected: Float[Array, "b classes"] = expect(pixels, *alpha)
        images = pixels if first.dtype == np.uint8 else np.asarray(forward.normalize(pixels))
        found = run(images, *alpha)
        return float(jnp.abs(found - expected).max() / jnp.abs(expected).max())

    return max(map(of_batch, batch_sizes))


def _port(name: str, shaped: Any) -> dict[str, Any]:
    shape = [side if isinstance(side, int) else str(side) for side in shaped.shape]
    key = str(shaped.dtype) if name == "images" else name.partition("_")[0]
    return {"name": name, "shape": shape, "dtype": str(shaped.dtype), "meaning": _MEANINGS[key]}


def describe(model: VisionTransformer) -> dict[str, Any]:
    """The model, its pixels and its pruning; an infinite alpha is "inf"."""
    spec = model.spec
    return {
        "model": spec.name,
        "num_classes": spec.num_classes,
        "image_size": list(spec.image_size),
        "crop_pct": spec.crop_pct,
        "interpolation": spec.interpolation,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "pruning": model.pruning and model.pruning.to_json(),
        "gmacs": flops(model) / 1e9,
    }
