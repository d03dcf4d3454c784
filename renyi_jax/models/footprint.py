"""What a model takes of memory at the least, asked before it is taken."""

from renyi_jax.common.memory import require_memory
from renyi_jax.models.spec import ModelSpec


def require_forward(spec: ModelSpec, batch_size: int, options: str) -> None:
    """Raises `UserError` where a forward pass does not fit the first device.

    Counts the parameters, the images, and the tokens within one MLP, all in float32.

    Args:
        spec: of the model.
        batch_size: images at a time, on one device.
        options: the flags or fields that decide it, as in "--batch_size=16".
    """
    height, width = spec.image_size
    dim, patches = spec.embed_dim, spec.num_patches
    dense = 3 if spec.activation == "swiglu" else 2
    parameters = spec.depth * dim * (4 * dim + dense * spec.mlp_dim)
    parameters += dim * (patches + spec.num_classes)
    image = 3 * height * width + patches * (dim + spec.mlp_dim)
    what = f"A model of {height} x {width} pixels and {spec.num_classes:,} classes"
    require_memory(4 * (parameters + batch_size * image), f"{what} ({options})")
