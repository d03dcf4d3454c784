"""Weights into a model and out of it, by timm's names."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
from absl import logging
from etils import epath
from flax import nnx

from renyi_jax.errors import UserError, check_known, some
from renyi_jax.models.compatibility import Fit, Shape, advise, file_classes, fit
from renyi_jax.models.layers import ACTIVATIONS
from renyi_jax.models.notes import PIXELS, SHAPE, Notes, read_notes, write_notes
from renyi_jax.models.registry import model_spec
from renyi_jax.models.spec import ModelSpec
from renyi_jax.models.vit import VisionTransformer
from renyi_jax.weights import (
    Checkpoint,
    read_checkpoint,
    resize_pos_embed,
    timm_name,
    write_checkpoint,
)

_LISTED = 8

FILE_DTYPES = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}


def load_weights(model: VisionTransformer, path: str | Path, state: str | None = None) -> None:
    """Fills a model with the weights of a file in timm's names, which this project writes too.

    The model keeps its own pruning and classes; `renyi_jax.load` makes a model with those that the
    file notes. Its `spec` gets the mean, deviation, crop and interpolation that are noted in the
    file or in a config.json beside it. A positional embedding of another grid is resized. A
    classifier of another number of classes stays as the model has it, and so does one that the file
    lacks; a log line says so. float8, float16 and bfloat16 become float32.

    Args:
        model: changed in place; its parameters stay on their devices.
        path: a file (safetensors, a state dictionary that torch saved, or an `.npz`) with the names
            of timm, or of a project of `weights.projects`; a directory with model.safetensors or
            pytorch_model.bin; `hf_hub:OWNER/NAME` on the Hugging Face hub; or `embedded:NAME` for
            weights shipped with this package.
        state: which weights of a training checkpoint that holds several; their moving average by
            default, as in timm.

    Raises:
        UserError: there is no such file, it is damaged or not finite, or it does not fit; then
            every missing, unexpected and misshapen tensor is told, and the models that it would
            fit; or what is noted of it contradicts its tensors.
    """
    fill(model, read_checkpoint(path, state))


def fill(model: VisionTransformer, checkpoint: Checkpoint) -> None:
    """`load_weights` from a file that has been read."""
    spec = model.spec
    plan = check_fit(spec, checkpoint)
    for note in plan.notes:
        logging.info("%s: %s", checkpoint.path, note)

    noted = read_notes(checkpoint.metadata, checkpoint.path)
    if noted.activation not in (None, spec.activation) and spec.activation in ACTIVATIONS:
        logging.warning(
            "%s was trained with the activation %s, and %s has %s.",
            *(checkpoint.path, noted.activation, spec.name or "the model", spec.activation),
        )

    state = nnx.state(model, nnx.Param)
    for path, parameter in nnx.to_flat_state(state):
        name, layout = timm_name(".".join(map(str, path)), spec.renamed)
        if name not in plan.names:
            continue
        tensor = checkpoint.tensors[name]
        if name == "pos_embed" and plan.grid is not None:
            num_prefix = tensor.shape[1] - math.prod(plan.grid)
            tensor = resize_pos_embed(tensor, plan.grid, spec.grid_size, num_prefix)
        before = parameter[...]
        # One placed array among others that are not would make the steps of training, whose results
        # are all placed, compile twice.
        place = before.sharding if before.committed else None
        parameter[...] = jax.device_put(layout.to_ours(tensor), place)
    nnx.update(model, state)
    named = model_spec(spec.name) if spec.name else spec
    pixels = {field: getattr(named, field) for field in PIXELS}
    model.spec = dataclasses.replace(spec, **(pixels | noted.known(PIXELS)))


def check_fit(spec: ModelSpec, checkpoint: Checkpoint) -> Fit:
    """Returns how the tensors of a file go into a model; errors as in `load_weights`."""
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    notes = read_notes(checkpoint.metadata, checkpoint.path)
    plan = fit(spec, shapes, notes.image_size)
    if plan.problems:
        lines = "".join(f"\n  {problem}" for problem in plan.problems)
        advice = advise(shapes, notes.image_size)
        raise UserError(
            f"{checkpoint.path} does not fit {spec.name or 'the model'}:{lines}\n{advice}"
        )
    if contradictions := _contradictions(notes, spec, shapes):
        raise UserError(
            f"{checkpoint.path} contradicts what it, or the config.json beside it, notes:"
            f" {'; '.join(contradictions)}."
        )
    bad = [name for name in plan.names if not np.isfinite(checkpoint.tensors[name]).all()]
    if bad:
        count = sum(int((~np.isfinite(checkpoint.tensors[name])).sum()) for name in bad)
        raise UserError(
            f"{checkpoint.path} has {count:,} numbers that are not finite in float32, in"
            f" {some(sorted(bad), _LISTED)}; no model works with them."
        )
    return plan


def _contradictions(notes: Notes, spec: ModelSpec, shapes: Mapping[str, Shape]) -> list[str]:
    """What is noted of weights that fit `spec`, and is not so."""
    told = [
        f"{field} {value} is noted, and its tensors have {getattr(spec, field)}"
        for field, value in notes.known(SHAPE).items()
        if value != getattr(spec, field)
    ]
    classes = file_classes(shapes) or 0
    counts = {"classes": notes.num_classes, "names of classes": None}
    if notes.class_names is not None:
        counts["names of classes"] = len(notes.class_names)
    has = f"its classifier has {classes}" if classes else "it has no classifier"
    told += [
        f"{count} {what} are noted, and {has}"
        for what, count in counts.items()
        if count is not None and count != classes
    ]
    return told


def to_timm(model: VisionTransformer) -> dict[str, np.ndarray]:
    """The weights as timm's model of the same name has them: its names, its shapes, float32."""
    tensors = {}
    for path, parameter in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        name, layout = timm_name(".".join(map(str, path)), model.spec.renamed)
        tensors[name] = layout.to_timm(np.asarray(parameter[...]))
    return tensors


def save_weights(
    model: VisionTransformer,
    path: epath.PathLike,
    dtype: str = "float32",
    class_names: Sequence[str] | None = None,
) -> None:
    """Writes safetensors that timm loads with `strict=True`, and `load_weights` too.

    The file notes the model's name, its pruning and its classes, which the commands that use it
    then need not be told.

    Args:
        path: replaced once the whole file is written.
        dtype: "float32", "float16" or "bfloat16", of the file.
        class_names: in the order of the classes, to be noted in the file.

    Raises:
        UserError: an unknown dtype, or one that the weights overflow, or the file cannot be
            written.
    """
    check_known("dtype", dtype, FILE_DTYPES)
    tensors = {}
    for name, array in to_timm(model).items():
        with np.errstate(over="ignore"):
            tensors[name] = array.astype(FILE_DTYPES[dtype])
        if not np.isfinite(tensors[name]).all() and np.isfinite(array).all():
            raise UserError(
                f"{name} has numbers up to {abs(array).max():.3g}, too large for {dtype}; take"
                " bfloat16 or float32."
            )
    write_checkpoint(path, tensors, write_notes(model, class_names))


def weights_digest(model: VisionTransformer) -> str:
    """Returns a name of the weights that only their content decides."""
    digest = hashlib.sha256()
    for path, parameter in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        array = np.asarray(parameter[...])
        digest.update(f"{path} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
