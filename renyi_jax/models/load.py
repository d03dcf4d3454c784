"""A model of the size and the classes that a file of weights has."""

from flax import nnx

from renyi_jax.models.fit import source_grid
from renyi_jax.models.registry import create_model, model_spec
from renyi_jax.models.vit import VisionTransformer
from renyi_jax.models.weights import fill
from renyi_jax.pruning import PruningConfig
from renyi_jax.weights import Checkpoint


def model_from(
    checkpoint: Checkpoint,
    name: str,
    *,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    pruning: PruningConfig | None = None,
    dtype: str = "float32",
) -> VisionTransformer:
    """Builds a model and fills it.

    Args:
        checkpoint: of `read_checkpoint`.
        name: one of `list_models()`.
        num_classes: outputs of the head, 0 for none; those of the file by default, none if it has
            no head. A number that the file does not have makes a random head.
        image_size: side, or (height, width), in pixels, to which the positional embedding is
            resized; that of the file by default, and the model's own where it cannot be known.
        pruning: as in `create_model`.
        dtype: likewise.

    Raises:
        UserError: as `create_model` and `load_weights`.
    """
    spec = model_spec(name)
    if num_classes is None:
        head = checkpoint.tensors.get("head.bias")
        num_classes = 0 if head is None else len(head)
    if image_size is None:
        shapes = {tensor: array.shape for tensor, array in checkpoint.tensors.items()}
        grid = source_grid(spec, shapes, checkpoint.metadata)
        image_size = grid and (grid[0] * spec.patch_size, grid[1] * spec.patch_size)
    model = create_model(
        name,
        num_classes=num_classes,
        image_size=image_size,
        pruning=pruning,
        dtype=dtype,
        rngs=nnx.Rngs(0),
    )
    fill(model, checkpoint)
    return model
