"""timm's names of the parameters and ours, and how their arrays differ: one table."""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Layout(NamedTuple):
    """How an array turns from timm's shape into ours and back; each works on numpy and JAX."""

    to_ours: Callable[[Any], Any]
    to_timm: Callable[[Any], Any]


def _patches_to_ours(weight):
    """A convolution's `[d, 3, p, p]` as the dense `[p * p * 3, d]`: row, column, channel."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])


def _patches_to_timm(kernel):
    side = math.isqrt(kernel.shape[0] // 3)
    return kernel.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)


SAME = Layout(lambda array: array, lambda array: array)
DENSE = Layout(lambda weight: weight.T, lambda kernel: kernel.T)
PATCHES = Layout(_patches_to_ours, _patches_to_timm)

# Ours: (timm's, layout); {} is the block's number, counted from 0.
NAMES: dict[str, tuple[str, Layout]] = {
    "patch_embed.proj.kernel": ("patch_embed.proj.weight", PATCHES),
    "patch_embed.proj.bias": ("patch_embed.proj.bias", SAME),
    "cls_token": ("cls_token", SAME),
    "dist_token": ("dist_token", SAME),
    "reg_token": ("reg_token", SAME),
    "pos_embed": ("pos_embed", SAME),
    "blocks.{}.norm1.scale": ("blocks.{}.norm1.weight", SAME),
    "blocks.{}.norm1.bias": ("blocks.{}.norm1.bias", SAME),
    "blocks.{}.attn.qkv.kernel": ("blocks.{}.attn.qkv.weight", DENSE),
    "blocks.{}.attn.qkv.bias": ("blocks.{}.attn.qkv.bias", SAME),
    "blocks.{}.attn.qkv.q_bias": ("blocks.{}.attn.q_bias", SAME),
    "blocks.{}.attn.qkv.v_bias": ("blocks.{}.attn.v_bias", SAME),
    "blocks.{}.attn.proj.kernel": ("blocks.{}.attn.proj.weight", DENSE),
    "blocks.{}.attn.proj.bias": ("blocks.{}.attn.proj.bias", SAME),
    "blocks.{}.ls1.gamma": ("blocks.{}.ls1.gamma", SAME),
    "blocks.{}.norm2.scale": ("blocks.{}.norm2.weight", SAME),
    "blocks.{}.norm2.bias": ("blocks.{}.norm2.bias", SAME),
    "blocks.{}.mlp.fc1.kernel": ("blocks.{}.mlp.fc1.weight", DENSE),
    "blocks.{}.mlp.fc1.bias": ("blocks.{}.mlp.fc1.bias", SAME),
    "blocks.{}.mlp.fc1_g.kernel": ("blocks.{}.mlp.fc1_g.weight", DENSE),
    "blocks.{}.mlp.fc1_g.bias": ("blocks.{}.mlp.fc1_g.bias", SAME),
    "blocks.{}.mlp.fc1_x.kernel": ("blocks.{}.mlp.fc1_x.weight", DENSE),
    "blocks.{}.mlp.fc1_x.bias": ("blocks.{}.mlp.fc1_x.bias", SAME),
    "blocks.{}.mlp.fc2.kernel": ("blocks.{}.mlp.fc2.weight", DENSE),
    "blocks.{}.mlp.fc2.bias": ("blocks.{}.mlp.fc2.bias", SAME),
    "blocks.{}.ls2.gamma": ("blocks.{}.ls2.gamma", SAME),
    "norm_pre.scale": ("norm_pre.weight", SAME),
    "norm_pre.bias": ("norm_pre.bias", SAME),
    "norm.scale": ("norm.weight", SAME),
    "norm.bias": ("norm.bias", SAME),
    "attn_pool.latent": ("attn_pool.latent", SAME),
    "attn_pool.q.kernel": ("attn_pool.q.weight", DENSE),
    "attn_pool.q.bias": ("attn_pool.q.bias", SAME),
    "attn_pool.kv.kernel": ("attn_pool.kv.weight", DENSE),
    "attn_pool.kv.bias": ("attn_pool.kv.bias", SAME),
    "attn_pool.proj.kernel": ("attn_pool.proj.weight", DENSE),
    "attn_pool.proj.bias": ("attn_pool.proj.bias", SAME),
    "attn_pool.norm.scale": ("attn_pool.norm.weight", SAME),
    "attn_pool.norm.bias": ("attn_pool.norm.bias", SAME),
    "attn_pool.mlp.fc1.kernel": ("attn_pool.mlp.fc1.weight", DENSE),
    "attn_pool.mlp.fc1.bias": ("attn_pool.mlp.fc1.bias", SAME),
    "attn_pool.mlp.fc2.kernel": ("attn_pool.mlp.fc2.weight", DENSE),
    "attn_pool.mlp.fc2.bias": ("attn_pool.mlp.fc2.bias", SAME),
    "fc_norm.scale": ("fc_norm.weight", SAME),
    "fc_norm.bias": ("fc_norm.bias", SAME),
    "head.kernel": ("head.weight", DENSE),
    "head.bias": ("head.bias", SAME),
    "head_dist.kernel": ("head_dist.weight", DENSE),
    "head_dist.bias": ("head_dist.bias", SAME),
}

CLASSIFIER = frozenset(timm for timm, _ in NAMES.values() if timm.startswith("head"))
"""timm's names of what depends on the number of classes."""

IGNORED = frozenset({"mask_token"})
"""Tensors of published files that only pre-training needs; timm ignores them too."""


ROTARY_TABLE = "rope_embed.periods"
"""Periods of rotary positions in published files, a quarter as many as a head is wide."""


def timm_name(ours: str, renamed: Iterable[tuple[str, str]] = ()) -> tuple[str, Layout]:
    """timm's name of our parameter, such as `blocks.3.norm1.scale`, and the layout between them.

    Args:
        ours: the name.
        renamed: of a family in which timm has other names: pairs of that of `NAMES` and that one.
    """
    template, number = split_block(ours)
    timm, layout = NAMES[template]
    return dict(renamed).get(timm, timm).format(number), layout


def split_block(name: str) -> tuple[str, int | None]:
    """`blocks.3.norm1.bias` as `("blocks.{}.norm1.bias", 3)`; None for what is in no block."""
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    return (f"blocks.{{}}.{match[2]}", int(match[1])) if match else (name, None)
