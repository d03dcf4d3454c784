"""What the comparisons with timm share: timm itself, stand-ins for its models, and ours for them.

A stand-in has a model's kind (its prefix tokens, LayerScale, positional embedding) at another size.
"""

import dataclasses
import importlib.util
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from renyi_jax.measuring.torch_peers import import_timm
from renyi_jax.models import MODELS, ModelSpec, VisionTransformer

# The kinds of models, each at the size of a few kilobytes: what the committed files hold.
KINDS = {
    "plain": "vit_tiny_patch16_224",
    "distilled": "deit_tiny_distilled_patch16_224",
    "layer_scale": "deit3_small_patch16_224",
    "registers": "vit_small_patch14_reg4_dinov2",
}
TINY: dict[str, Any] = {
    "embed_dim": 8,
    "depth": 2,
    "num_heads": 2,
    "patch_size": 4,
    "image_size": (16, 16),
    "num_classes": 5,
}


def tiny_spec(kind: str, **changes) -> ModelSpec:
    return dataclasses.replace(MODELS[KINDS[kind]], **(TINY | changes))


def build(spec: ModelSpec, seed: int = 0) -> VisionTransformer:
    """The model of a spec that has no name."""
    return VisionTransformer(
        spec,
        pruning=None,
        dtype=jnp.float32,
        drop_path_rate=0.0,
        dropout_rate=0.0,
        patch_drop_rate=0.0,
        rngs=nnx.Rngs(seed),
    )


@pytest.fixture(scope="session")
def timm() -> ModuleType:
    for name in ("torch", "timm"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}, which requirements-parity.txt names")
    return import_timm()


def timm_model(timm: ModuleType, name: str, spec: ModelSpec, seed: int = 0, scale: float = 0.05):
    """timm's model of a spec, every parameter random enough to matter.

    As initialised, LayerScale is nearly zero, the norms are the identity, and the biases are zero.
    """
    import torch

    torch.manual_seed(seed)
    model = timm.create_model(
        name,
        img_size=spec.image_size,
        patch_size=spec.patch_size,
        embed_dim=spec.embed_dim,
        depth=spec.depth,
        num_heads=spec.num_heads,
        num_classes=spec.num_classes,
    ).eval()
    for key, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        parameter.data = 0.5 + 0.2 * noise if "gamma" in key else parameter.data + scale * noise
    return model


def run_timm(model, images: np.ndarray, features: bool = False) -> np.ndarray:
    """The logits, or all tokens after the last norm, of images `[b, height, width, 3]`."""
    import torch

    forward = model.forward_features if features else model
    with torch.no_grad():
        return forward(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


def random_images(spec: ModelSpec, count: int = 2, seed: int = 0) -> np.ndarray:
    shape = (count, *spec.image_size, 3)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
