"""Models and data small enough to compile in a second."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

from renyi_jax.data.dataset import Dataset, Records
from renyi_jax.data.fashion_mnist import CLASS_NAMES
from renyi_jax.models import ModelSpec, VisionTransformer
from renyi_jax.pruning import PruningConfig


def tiny_spec(**changes: Any) -> ModelSpec:
    """16 patches of 4 x 4 pixels, 3 blocks."""
    shape: dict[str, Any] = {
        "embed_dim": 16,
        "depth": 3,
        "num_heads": 2,
        "patch_size": 4,
        "image_size": (16, 16),
        "num_classes": 10,
    }
    return ModelSpec(**{**shape, **changes})


def tiny_model(
    pruning: PruningConfig | None = None, spec: ModelSpec | None = None, seed: int = 0
) -> VisionTransformer:
    """A model whose weights are all random and large, so that its attention is far from even.

    They are drawn by numpy: to initialise the model itself would take seconds to compile.
    """

    def build() -> VisionTransformer:
        return VisionTransformer(
            spec or tiny_spec(),
            pruning=pruning,
            dtype=jnp.float32,
            drop_path_rate=0.0,
            dropout_rate=0.0,
            patch_drop_rate=0.0,
            rngs=nnx.Rngs(0),
        )

    graphdef, shapes = nnx.split(nnx.eval_shape(build))
    rng = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], shape: jax.ShapeDtypeStruct) -> jax.Array:
        mean = 1.0 if "scale" in jax.tree_util.keystr(path) else 0.0
        return jnp.asarray(rng.normal(mean, 0.3, shape.shape), shape.dtype)

    return nnx.merge(graphdef, jax.tree_util.tree_map_with_path(draw, shapes))


def tiny_dataset(num_test: int = 23, image_size: int = 16, masks: bool = True) -> Dataset:
    """Noise with a label, and a rectangle of it as the object."""
    rng = np.random.default_rng(0)

    def example() -> dict[str, Any]:
        top, left = rng.integers(0, image_size - 4, 2)
        mask = np.zeros((image_size, image_size), bool)
        mask[top : top + rng.integers(1, 9), left : left + rng.integers(1, 9)] = True
        image = rng.integers(0, 256, (image_size, image_size, 3)).astype(np.uint8)
        label = np.int32(rng.integers(0, 10))
        return {"image": image, "label": label} | ({"object_mask": mask} if masks else {})

    return Dataset(
        name="noise",
        class_names=CLASS_NAMES,
        image_shape=(image_size, image_size, 3),
        has_object_masks=masks,
        train=_InMemory([]),
        test=_InMemory([example() for _ in range(num_test)]),
        read_garments=None,
    )


class _InMemory(Records):
    """Examples that need no decoding."""

    def __init__(self, examples: list[dict[str, Any]]):
        self._source = examples

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._source[index]

    def picture(self, index: int) -> dict[str, Any]:
        pixels = {"image", "object_mask"}
        example = self._source[index]
        return {k: Image.fromarray(v) if k in pixels else v for k, v in example.items()}
