"""Multiply-adds of one image, counted from the shapes."""

import dataclasses

from renyi_jax.models.spec import ModelSpec
from renyi_jax.models.vit import VisionTransformer
from renyi_jax.pruning import CRITERIA, REDUCERS, PruningConfig, PruningStage, keep_count


def flops(model: VisionTransformer, image_size: int | tuple[int, int] | None = None) -> int:
    """Multiply-adds of one image, the cost of pruning included.

    Counts what grows with the tokens: dense layers, the two products of attention, the scoring and
    the fusing. Norms, softmax and activations are left out, as is usual: DeiT-S at 224 pixels has
    4.6 G.

    Args:
        model: its shape and its pruning count; its weights do not.
        image_size: side, or (height, width), in pixels; the model's own by default.
    """
    spec = model.spec
    if image_size is not None:
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        spec = dataclasses.replace(spec, image_size=size)
    return count_flops(spec, model.pruning)


def count_flops(spec: ModelSpec, pruning: PruningConfig | None) -> int:
    """`flops` of a model that need not exist."""
    stages = pruning.stages() if pruning else {}
    width, patches = spec.embed_dim, spec.num_patches
    total = patches * 3 * spec.patch_size**2 * width
    for number in range(1, spec.depth + 1):
        tokens = spec.num_prefix + patches
        total += 4 * tokens * width**2 + 2 * tokens**2 * width
        if number in stages:
            cost, patches = _stage_flops(spec, stages[number], patches)
            total += cost
        total += 2 * (spec.num_prefix + patches) * width * spec.mlp_dim
    return total + (1 + spec.distilled) * width * spec.num_classes


def _stage_flops(spec: ModelSpec, stage: PruningStage, patches: int) -> tuple[int, int]:
    """What one pruned block spends on pruning, and the patches that leave it."""
    count = keep_count(patches, stage.keep_rate)
    if count == patches:
        return 0, patches
    criterion, reducer = CRITERIA[stage.criterion], REDUCERS[stage.reducer]
    cost = criterion.multiply_adds(spec.num_heads, spec.num_prefix + patches, patches)
    cost += reducer.extra_tokens * (patches - count) * spec.embed_dim
    return cost, count + reducer.extra_tokens
