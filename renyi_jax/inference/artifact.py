"""A model as one file that runs wherever JAX does, without this package."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from renyi_jax.errors import UserError, nearest
from renyi_jax.inference.describe import describe
from renyi_jax.models import Forward, VisionTransformer, weights_of

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
INPUTS = ("float32", "uint8")


def export_model(
    model: VisionTransformer,
    *,
    alpha_input: bool = False,
    input_dtype: str = "float32",
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> jax.export.Exported:
    """Exports the model as a program with its weights in it, for any batch size.

    Args:
        alpha_input: make the order alpha a second argument, a float32 scalar.
        input_dtype: "float32" for normalised images; "uint8" for pixels, which the program
            normalises.
        platforms: where it shall run, of `PLATFORMS`.

    Raises:
        UserError: an unknown platform or dtype, or a model whose pruning has no order.
    """
    for name, known in ((input_dtype, INPUTS), *((each, PLATFORMS) for each in platforms)):
        if name not in known:
            raise UserError(
                f"An artifact for {name!r} cannot be made; known: {', '.join(known)}."
                + nearest(name, known)
            )
    spec, pruning = model.spec, model.pruning
    if alpha_input and not (pruning and pruning.matters("alpha")):
        raise UserError("Without a criterion that has an order, alpha cannot be an input.")
    forward = functools.partial(Forward.of(model), weights_of(model))

    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *spec.image_size, 3), jnp.dtype(input_dtype))
    alpha = [jax.ShapeDtypeStruct((), jnp.float32)] if alpha_input else []
    return jax.export.export(jax.jit(forward), platforms=tuple(platforms))(images, *alpha)


def describe_artifact(
    model: VisionTransformer,
    exported: jax.export.Exported,
    class_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """All that has to be known to give the artifact images, as JSON holds it."""
    images, *alpha = exported.in_avals
    meanings = {
        "float32": "RGB, each channel as (pixel / 255 - mean) / std",
        "uint8": "RGB pixels from 0 to 255; the program normalises them",
    }
    inputs = [_input("images", images, meanings[str(images.dtype)])]
    inputs += [_input("alpha", each, "order of the entropy, above 0") for each in alpha]
    outputs = exported.out_avals[0]
    meaning = "logits of the classes" if model.spec.num_classes else "features, as no head exists"
    return {
        **describe(model),
        "inputs": inputs,
        "output": _input("logits" if model.spec.num_classes else "features", outputs, meaning),
        "preprocessing": (
            f"resize the picture with {model.spec.interpolation} interpolation, its shape kept,"
            " until its shorter side is that of image_size / crop_pct; take the middle"
        ),
        "class_names": list(class_names) if class_names is not None else None,
        "platforms": list(exported.platforms),
        "jax": jax.__version__,
        "calling_convention_version": exported.calling_convention_version,
        "needs": ["jax", "flatbuffers"],
        "how_to_run": "jax.export.deserialize(bytearray(open(FILE, 'rb').read())).call(images"
        + (", alpha)" if alpha else ")"),
    }


def deviation(model: VisionTransformer, exported: jax.export.Exported) -> float:
    """The largest difference of the artifact's outputs from the model's, on one noisy image, over
    the largest output."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1, *model.spec.image_size, 3), np.uint8)
    forward = Forward.of(model)
    first, *rest = exported.in_avals
    images = pixels if first.dtype == jnp.uint8 else forward.normalize(pixels)
    alpha = (jnp.float32(2.0),) * len(rest)
    expected = jax.jit(forward)(weights_of(model), pixels, *alpha)
    found = exported.call(images, *alpha)
    return float(jnp.abs(found - expected).max() / jnp.abs(expected).max())


def _input(name: str, shaped: Any, meaning: str) -> dict[str, Any]:
    shape = [side if isinstance(side, int) else str(side) for side in shaped.shape]
    return {"name": name, "shape": shape, "dtype": str(shaped.dtype), "meaning": meaning}
