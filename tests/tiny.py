"""Models and data small enough to compile in a second."""

import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

from renyi_jax.data.dataset import Dataset, Records
from renyi_jax.data.fashion_mnist import CLASS_NAMES
from renyi_jax.models import Forward, ModelSpec, VisionTransformer, weights_of
from renyi_jax.models.rotary import Rotary
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
        "crop_pct": 1.0,
    }
    return ModelSpec(**{**shape, **changes})


# Every part that a model can be put together from, in four models.
PARTS: dict[str, dict[str, Any]] = {
    "attention pooling": {"class_token": False, "pool": "map", "activation": "gelu_tanh"},
    "mean of the patches": {
        "class_token": False,
        "pool": "mean",
        "fc_norm": True,
        "mlp_ratio": 3.6,
    },
    "rotary, gated": {
        "pool": "mean",
        "num_registers": 2,
        "learned_positions": False,
        "rotary": Rotary(base=100.0),
        "activation": "swiglu",
        "qkv_bias": "qv",
        "layer_scale": 0.1,
        "image_size": (12, 20),
    },
    "rotary and learned": {
        "pool": "map",
        "pool_heads": 4,
        "pool_prefix": True,
        "rotary": Rotary(10.0, reference=(6, 5), columns_first=True, interleaved=True),
        "pre_norm": True,
        "activation": "quick_gelu",
        "qkv_bias": "",
        "norm_eps": 1e-2,
    },
}


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

    model = nnx.eval_shape(build)
    rng = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], shape: jax.ShapeDtypeStruct) -> jax.Array:
        mean = 1.0 if "scale" in jax.tree_util.keystr(path) else 0.0
        return jnp.asarray(rng.normal(mean, 0.3, shape.shape), shape.dtype)

    weights = jax.tree_util.tree_map_with_path(draw, weights_of(model))
    return Forward.of(model).model(weights)


def tiny_dataset(num_test: int = 23, image_size: int = 16, masks: bool = True) -> Dataset:
    """Noise with a label, and a rectangle of it as the object."""
    rng = np.random.default_rng(0)

    def record() -> dict[str, Any]:
        top, left = rng.integers(0, image_size - 4, 2)
        mask = np.zeros((image_size, image_size), np.uint8)
        mask[top : top + rng.integers(1, 9), left : left + rng.integers(1, 9)] = 255
        image = rng.integers(0, 256, (image_size, image_size, 3), np.uint8)
        return {"image": _png(image), "label": rng.integers(0, 10), "object_mask": _png(mask)}

    return Dataset(
        name="noise",
        class_names=CLASS_NAMES,
        image_shape=(image_size, image_size, 3),
        has_object_masks=masks,
        train=Records([], "train"),
        test=Records([record() for _ in range(num_test)], "test", "object_mask" if masks else None),
        read_garments=None,
    )


def _png(pixels: np.ndarray) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()
