"""The models by timm's names, and `create_model`.

To add a model, add one row to `MODELS`.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx

from renyi_jax.errors import UserError, nearest
from renyi_jax.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from renyi_jax.models.vit import REMATERIALIZATIONS, VisionTransformer
from renyi_jax.pruning import PruningConfig

_HALF = (0.5, 0.5, 0.5)
_WIDTHS = {
    "tiny": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "small": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "base": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "large": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
}
_DINOV2 = {
    "patch_size": 14,
    "image_size": (518, 518),
    "num_classes": 0,
    "layer_scale": 1e-5,
    "crop_pct": 1.0,
}


def _family(pattern: str, sizes: tuple[str, ...], **shape) -> dict[str, ModelSpec]:
    return {pattern.format(size): ModelSpec(**_WIDTHS[size], **shape) for size in sizes}


MODELS: dict[str, ModelSpec] = {
    **_family("vit_{}_patch16_224", ("tiny", "small", "base", "large"), mean=_HALF, std=_HALF),
    **_family("deit_{}_patch16_224", ("tiny", "small", "base")),
    **_family("deit_{}_patch16_384", ("base",), image_size=(384, 384), crop_pct=1.0),
    **_family("deit_{}_distilled_patch16_224", ("tiny", "small", "base"), distilled=True),
    **_family(
        "deit3_{}_patch16_224",
        ("small", "base"),
        layer_scale=1e-6,
        prefix_embedded=False,
        crop_pct=0.9,
    ),
    **_family("vit_{}_patch14_dinov2", ("small", "base", "large"), **_DINOV2),
    **_family(
        "vit_{}_patch14_reg4_dinov2",
        ("small", "base", "large"),
        num_registers=4,
        prefix_embedded=False,
        **_DINOV2,
    ),
    "vit_nano_patch4_56": ModelSpec(
        embed_dim=64,
        depth=12,
        num_heads=4,
        patch_size=4,
        image_size=(56, 56),
        num_classes=10,
        mean=_HALF,
        std=_HALF,
        crop_pct=1.0,
    ),
}

# What timm's tags, the part of a name behind its dot, change of the pixels that weights expect.
_SELF_SUPERVISED = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "num_classes": 0}
TAGS: dict[str, dict[str, Any]] = {
    "dino": _SELF_SUPERVISED,
    "mae": _SELF_SUPERVISED,
    "fb_in22k_ft_in1k": {"crop_pct": 1.0},
}

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def list_models() -> list[str]:
    """The names that `create_model` knows, as timm spells them."""
    return sorted(MODELS)


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    pruning: PruningConfig | None = None,
    rngs: nnx.Rngs,
    image_size: int | tuple[int, int] | None = None,
    dtype: str = "float32",
    drop_path_rate: float = 0.0,
    dropout_rate: float = 0.0,
    patch_drop_rate: float = 0.0,
    plain_patches_first: bool = False,
    remat: str = "none",
) -> VisionTransformer:
    """Builds a model with random weights; `load_weights` fills it.

    Args:
        name: one of `list_models()`; timm's tags, as in "deit_small_patch16_224.fb_in1k", may
            follow.
        num_classes: outputs of the head, 0 for none; the model's own number by default.
        pruning: which blocks are pruned and how; None for the plain model.
        rngs: stream "params" draws the weights.
        image_size: side, or (height, width), in pixels; the model's own by default.
        dtype: "float32" or "bfloat16", of the computation; weights are float32.
        drop_path_rate: stochastic depth of the last block, rising linearly from 0.
        dropout_rate: dropout after the positional embedding and after every dense layer but qkv.
        patch_drop_rate: share of the patches dropped at random in training.
        plain_patches_first: drop patches of one colour before any other.
        remat: what the backward pass computes again rather than keep: one of `REMATERIALIZATIONS`.

    Raises:
        UserError: an unknown name, dtype or remat, an image size that the patches do not tile, a
            rate outside [0, 1), or a pruned block beyond the last.
    """
    spec = model_spec(name, num_classes=num_classes, image_size=image_size)
    for what, value, known in (("dtype", dtype, DTYPES), ("remat", remat, REMATERIALIZATIONS)):
        if value not in known:
            raise UserError(
                f"Unknown {what} {value!r}; known: {', '.join(known)}.{nearest(value, known)}"
            )
    rates = {
        "drop_path_rate": drop_path_rate,
        "dropout_rate": dropout_rate,
        "patch_drop_rate": patch_drop_rate,
    }
    for field, rate in rates.items():
        if not 0 <= rate < 1:
            raise UserError(f"{field} must lie in [0, 1), got {rate!r}.")
    return VisionTransformer(
        spec,
        pruning=pruning,
        dtype=DTYPES[dtype],
        plain_patches_first=plain_patches_first,
        remat=remat,
        rngs=rngs,
        **rates,
    )


def model_spec(
    name: str,
    *,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
) -> ModelSpec:
    """The shape that `create_model` gives a model; arguments and errors as there."""
    architecture, _, tag = name.partition(".")
    if architecture not in MODELS:
        raise UserError(
            f"Unknown model {name!r}.{nearest(name, MODELS)}"
            " renyi_jax.list_models() returns every name."
        )
    pixels = TAGS.get(tag, {})
    known = f"{architecture}.{tag}" if pixels else architecture
    spec = dataclasses.replace(MODELS[architecture], **pixels, name=known)
    if num_classes is not None:
        if num_classes < 0:
            raise UserError(f"num_classes must be at least 0, got {num_classes}.")
        spec = dataclasses.replace(spec, num_classes=num_classes)
    if image_size is not None:
        spec = dataclasses.replace(spec, image_size=_image_size(image_size, spec.patch_size, name))
    return spec


def _image_size(size: int | tuple[int, int], patch_size: int, name: str) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    if min(height, width) < patch_size or height % patch_size or width % patch_size:
        raise UserError(
            f"image_size {height} x {width} is not tiled by the {patch_size} x {patch_size}"
            f" patches of {name}; take multiples of {patch_size}, such as"
            f" {_round(height, patch_size)} x {_round(width, patch_size)}."
        )
    return height, width


def _round(length: int, patch_size: int) -> int:
    return max(1, round(length / patch_size)) * patch_size
