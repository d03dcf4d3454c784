"""What a model costs, counted from its shapes: multiply-adds of an image, and memory."""

import dataclasses
import os
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Int

from renyi_jax.errors import UserError
from renyi_jax.models.spec import ModelSpec
from renyi_jax.models.vit import VisionTransformer
from renyi_jax.pruning import PruningConfig, Stage


def flops(model: VisionTransformer, image_size: int | tuple[int, int] | None = None) -> int:
    """Multiply-adds of one image, the cost of pruning included.

    Counts what grows with the tokens: dense layers, the two products of attention, the scoring and
    the fusing. Norms, softmax, activations and rotations are left out, as is usual: DeiT-S at 224
    pixels has 4.6 G.

    Args:
        image_size: side, or (height, width), in pixels; the model's own by default.
    """
    spec = model.spec
    if image_size is not None:
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        spec = dataclasses.replace(spec, image_size=size)
    return count_flops(spec, model.pruning)


def count_flops(
    spec: ModelSpec, pruning: PruningConfig | None, tokens: Sequence[int] | None = None
) -> int:
    """`flops` of a model that need not exist.

    Args:
        tokens: that leave each pruned block, fused ones included and prefix tokens not, where an
            image keeps fewer than it might (`PruningConfig.keep_mass`): the count is then that of
            its own tokens, as if the places that are masked did not exist. (One that keeps all
            its patches is counted as if it had fused one of them, `embed_dim` too many.)
    """
    return count_stages(spec, pruning.stages if pruning else (), tokens)


def mean_flops(
    spec: ModelSpec,
    pruning: PruningConfig | None,
    tokens: Int[Array | np.ndarray, "images stages"],
) -> float:
    """`count_flops`, with adaptive keep counts the mean over images, each with its own `tokens`."""
    if pruning is None or not pruning.adapts:
        return float(count_flops(spec, pruning))
    counts, numbers = np.unique(np.asarray(tokens), axis=0, return_counts=True)
    each = [count_flops(spec, pruning, row) for row in counts.tolist()]
    return float(np.average(each, weights=numbers))


def count_stages(
    spec: ModelSpec, pruned: Sequence[Stage], tokens: Sequence[int] | None = None
) -> int:
    """`count_flops` of pruned blocks that need not make a `PruningConfig`."""
    stages = {stage.block: stage for stage in pruned}
    lefts = dict(zip(stages, tokens)) if tokens is not None else {}
    width, patches = spec.embed_dim, spec.num_patches
    total = patches * 3 * spec.patch_size**2 * width
    for number in range(1, spec.depth + 1):
        entering = spec.num_prefix + patches
        total += 4 * entering * width**2 + 2 * entering**2 * width
        if number in stages:
            stage = stages[number]
            left = lefts.get(number, stage.left(patches))
            total += stage.multiply_adds(spec.num_prefix, patches, left, width, spec.num_heads)
            if stage.needs().class_row and not spec.class_token:
                total += spec.num_heads * patches**2  # a mean of rows stands in for it
            patches = left
        total += (spec.num_prefix + patches) * _mlp(spec)
    if spec.pool == "map":
        pooled = patches + spec.num_prefix * spec.pool_prefix
        total += 2 * (pooled + 1) * width**2 + 2 * pooled * width + _mlp(spec)
    return total + (1 + spec.distilled) * width * spec.num_classes


def _mlp(spec: ModelSpec) -> int:
    """Multiply-adds of one token in an MLP."""
    return (3 if spec.activation == "swiglu" else 2) * spec.embed_dim * spec.mlp_dim


def require_forward(spec: ModelSpec, batch_size: int, options: str) -> None:
    """Raises `UserError` where a forward pass does not fit the first device.

    Counts the parameters, the images, and the tokens within one MLP, all in float32.

    Args:
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


def require_memory(needed_bytes: int | float, what: str) -> None:
    """Raises `UserError` where the device has less memory than `needed_bytes`, a lower bound.

    `what` needs them, and names the flags or fields that decide it, as in "--batch_size=16".
    """
    held = device_bytes()
    if needed_bytes > held:
        raise UserError(
            f"{what} needs {needed_bytes / 2**30:,.1f} GiB at the least, and this machine has"
            f" {held / 2**30:,.1f} GiB."
        )


def device_bytes() -> int:
    """The memory of the first device; of a CPU, that of its machine."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
