"""A model with its weights, from what a file of weights says of it."""

import re
from pathlib import Path
from typing import NamedTuple

from absl import logging
from flax import nnx
from jaxtyping import Array, Float

from renyi_jax.errors import UserError
from renyi_jax.models.compatibility import advise, file_classes, fitting_models, source_grid
from renyi_jax.models.flops import require_forward
from renyi_jax.models.forward import Forward, Images, weights_of
from renyi_jax.models.notes import read_notes
from renyi_jax.models.registry import MODELS, create_model, model_spec
from renyi_jax.models.vit import VisionTransformer
from renyi_jax.models.weights import check_fit, fill
from renyi_jax.weights import Checkpoint, read_checkpoint


class Loaded(NamedTuple):
    """A model with its weights and its pruning, and what its classes are called.

    `loaded(images)` gives logits; `renyi_jax.inference.Classifier(*loaded)` takes image files, and
    names their classes.
    """

    # its `pruning` is that of the file; its `spec` has the image size, and the mean and deviation
    # that pixels are normalised with
    model: VisionTransformer
    class_names: tuple[str, ...] | None  # in the order of the classes, where the file notes them

    def __call__(self, images: Images) -> Float[Array, "b classes"]:
        """Returns the logits of images of `model.spec.image_size`.

        Args:
            images: pixels, which are normalised here, or floats that are normalised already.
        """
        return Forward.of(self.model)(weights_of(self.model), images)


def load(
    source: str | Path,
    *,
    model: str | None = None,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    dtype: str = "float32",
    state: str | None = None,
) -> Loaded:
    """Builds the model that a file of weights is of, with its weights, pruning and classes.

    Args:
        source: a workdir of `renyi_jax.main`, a file, a folder in the layout of timm or of
            transformers, `hf_hub:OWNER/NAME` on the Hugging Face hub, or `embedded:NAME`; as in
            `load_weights`.
        model: one of `list_models()`; needed where the file, a config.json beside it and its
            tensors leave it open.
        num_classes: outputs of the head, 0 for none; those of the file by default, none if it has
            no head. A number that the file does not have makes a random head.
        image_size: side, or (height, width), in pixels, to which the positional embedding is
            resized; that of the file by default, and the model's own where it cannot be known.
        dtype: "float32" or "bfloat16", of the computation.
        state: as in `load_weights`.

    Raises:
        UserError: as `create_model` and `load_weights`, and where the model's name is not known.
    """
    if model is not None:
        model_spec(model)  # a wrong name is told before a large file is read
    checkpoint = read_checkpoint(source, state)
    notes = read_notes(checkpoint.metadata, checkpoint.path)
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    name = model or model_of(checkpoint)
    spec = model_spec(name)
    if num_classes is None:
        num_classes = file_classes(shapes) or 0
    if image_size is None:
        grid = source_grid(spec, shapes, notes.image_size)
        image_size = grid and (grid[0] * spec.patch_size, grid[1] * spec.patch_size)
    # Before a model is made of sizes that the file only pretends to have.
    built_spec = model_spec(name, num_classes=num_classes, image_size=image_size)
    check_fit(built_spec, checkpoint)
    require_forward(built_spec, 1, "num_classes, image_size")
    built = create_model(
        name,
        num_classes=num_classes,
        image_size=image_size,
        pruning=notes.pruning,
        dtype=dtype,
        rngs=nnx.Rngs(0),
    )
    fill(built, checkpoint)
    return Loaded(built, notes.class_names if len(notes.class_names or ()) == num_classes else None)


def model_of(checkpoint: Checkpoint) -> str:
    """Returns the name of the model that a file of weights is of.

    It is what the file, or a config.json beside it, notes; else the one model that its tensors fit,
    where several do that of the family and of the image size that are noted.

    Raises UserError: the name is unknown, or several models are left, or none.
    """
    notes = read_notes(checkpoint.metadata, checkpoint.path)
    if notes.model is not None:
        try:
            model_spec(notes.model)
        except UserError as error:
            raise UserError(
                f"{checkpoint.path} is of a model that is not known here. {error}"
            ) from None
        return notes.model
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    left = fitting_models(shapes, notes.image_size)
    grids = {name: source_grid(MODELS[name], shapes, notes.image_size) for name in left}
    for is_preferred in (
        lambda name: notes.family in re.split("[_.]", name),
        lambda name: MODELS[name].activation == notes.activation,
        lambda name: MODELS[name].grid_size == grids[name],
    ):
        left = list(filter(is_preferred, left)) or left
    if len(left) != 1:
        raise UserError(
            f"{checkpoint.path} does not say which model it is of: give its name (--model=NAME in"
            f" commands). {advise(shapes, notes.image_size)}"
        )
    logging.info("%s is taken for weights of %s, whose tensors it has.", checkpoint.path, left[0])
    return left[0]
