"""The models by timm's names, and `create_model`.

To add a model, add a row to its family in `families`.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx

from renyi_jax.errors import UserError, check_known, nearest
from renyi_jax.models.families import FAMILIES
from renyi_jax.models.spec import ModelSpec
from renyi_jax.models.vit import REMATERIALIZATIONS, VisionTransformer
from renyi_jax.pruning import PruningConfig

MODELS: dict[str, ModelSpec] = {
    name: spec for family in FAMILIES for name, spec in family.models.items()
}

TAGS: dict[str, dict[str, Any]] = {
    tag: changes for family in FAMILIES for tag, changes in family.tags.items()
}
"""What timm's tags, the part of a name behind its dot, change of the shape: by the tag, or by the
whole name where it is not the same for all models."""

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
    check_known("dtype", dtype, DTYPES)
    check_known("remat", remat, REMATERIALIZATIONS)
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
    pixels = TAGS.get(name) or TAGS.get(tag, {})
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
