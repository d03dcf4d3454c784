"""The names that other projects give to weights: one table each, from timm's names to theirs."""

import re
from collections.abc import Collection

import numpy as np

from renyi_jax.weights.names import CLASSIFIER, TIMM, Project, Tensors, rows


def _each(pattern: str, *names: str) -> tuple[str, ...]:
    return tuple(pattern.replace("*", name) for name in names)


_QKV = ("query", "key", "value")

# transformers, models/vit
_VIT = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "blocks.{}.norm1": "encoder.layer.{}.layernorm_before",
    "blocks.{}.attn.qkv": _each("encoder.layer.{}.attention.attention.*", *_QKV),
    "blocks.{}.attn.proj": "encoder.layer.{}.attention.output.dense",
    "blocks.{}.norm2": "encoder.layer.{}.layernorm_after",
    "blocks.{}.mlp.fc1": "encoder.layer.{}.intermediate.dense",
    "blocks.{}.mlp.fc2": "encoder.layer.{}.output.dense",
    "norm": "layernorm",
    "head": "classifier",
}
_POOLER = frozenset({"pooler.dense.weight", "pooler.dense.bias"})

# transformers, models/deit
_DEIT = _VIT | {
    "dist_token": "embeddings.distillation_token",
    "head": "cls_classifier",
    "head_dist": "distillation_classifier",
}

# transformers, models/dinov2 and models/dinov2_with_registers
_DINOV2 = _VIT | {
    "reg_token": "embeddings.register_tokens",
    "mask_token": "embeddings.mask_token",
    "blocks.{}.norm1": "encoder.layer.{}.norm1",
    "blocks.{}.ls1.gamma": "encoder.layer.{}.layer_scale1.lambda1",
    "blocks.{}.norm2": "encoder.layer.{}.norm2",
    "blocks.{}.mlp.fc1": "encoder.layer.{}.mlp.fc1",
    "blocks.{}.mlp.fc2": "encoder.layer.{}.mlp.fc2",
    "blocks.{}.ls2.gamma": "encoder.layer.{}.layer_scale2.lambda1",
}

# transformers, models/dinov3_vit
_DINOV3 = {
    "cls_token": "embeddings.cls_token",
    "reg_token": "embeddings.register_tokens",
    "mask_token": "embeddings.mask_token",
    "patch_embed.proj": "embeddings.patch_embeddings",
    "blocks.{}.norm1": "layer.{}.norm1",
    "blocks.{}.attn.qkv.weight": _each("layer.{}.attention.*_proj.weight", "q", "k", "v"),
    "blocks.{}.attn.q_bias": "layer.{}.attention.q_proj.bias",
    "blocks.{}.attn.v_bias": "layer.{}.attention.v_proj.bias",
    "blocks.{}.attn.proj": "layer.{}.attention.o_proj",
    "blocks.{}.gamma_1": "layer.{}.layer_scale1.lambda1",
    "blocks.{}.norm2": "layer.{}.norm2",
    "blocks.{}.mlp.fc1": "layer.{}.mlp.up_proj",
    "blocks.{}.mlp.fc2": "layer.{}.mlp.down_proj",
    "blocks.{}.gamma_2": "layer.{}.layer_scale2.lambda1",
    "norm": "norm",
}
_GATED_DINOV3 = {ours: theirs for ours, theirs in _DINOV3.items() if "mlp.fc1" not in ours} | {
    "blocks.{}.mlp.fc1_g": "layer.{}.mlp.gate_proj",
    "blocks.{}.mlp.fc1_x": "layer.{}.mlp.up_proj",
}

# transformers, models/siglip
_SIGLIP = {
    "pos_embed": "embeddings.position_embedding.weight",
    "patch_embed.proj": "embeddings.patch_embedding",
    "blocks.{}.norm1": "encoder.layers.{}.layer_norm1",
    "blocks.{}.attn.qkv": _each("encoder.layers.{}.self_attn.*_proj", "q", "k", "v"),
    "blocks.{}.attn.proj": "encoder.layers.{}.self_attn.out_proj",
    "blocks.{}.norm2": "encoder.layers.{}.layer_norm2",
    "blocks.{}.mlp.fc1": "encoder.layers.{}.mlp.fc1",
    "blocks.{}.mlp.fc2": "encoder.layers.{}.mlp.fc2",
    "norm": "post_layernorm",
    "attn_pool.latent": "head.probe",
    "attn_pool.qkv.weight": "head.attention.in_proj_weight",
    "attn_pool.qkv.bias": "head.attention.in_proj_bias",
    "attn_pool.proj": "head.attention.out_proj",
    "attn_pool.norm": "head.layernorm",
    "attn_pool.mlp.fc1": "head.mlp.fc1",
    "attn_pool.mlp.fc2": "head.mlp.fc2",
}

# transformers, models/clip
_CLIP = {ours: theirs for ours, theirs in _SIGLIP.items() if "attn_pool" not in ours} | {
    "cls_token": "embeddings.class_embedding",
    "norm_pre": "pre_layrnorm",
    "head": "visual_projection",
}
_PLACES = frozenset({"embeddings.position_ids"})

# facebookresearch/dinov2
_FACEBOOK_DINOV2 = TIMM | {"reg_token": ("register_tokens",)}

# facebookresearch/dinov3
_FACEBOOK_DINOV3 = {ours: theirs for ours, theirs in TIMM.items() if ".ls" not in ours} | {
    "reg_token": ("storage_tokens",),
    "blocks.{}.attn.qkv.bias_mask": ("blocks.{}.attn.qkv.bias_mask",),
    "blocks.{}.gamma_1": ("blocks.{}.ls1.gamma",),
    "blocks.{}.gamma_2": ("blocks.{}.ls2.gamma",),
}
_FACEBOOK_GATED_DINOV3 = _FACEBOOK_DINOV3 | rows(
    {
        "blocks.{}.mlp.fc1_g": "blocks.{}.mlp.w1",
        "blocks.{}.mlp.fc1_x": "blocks.{}.mlp.w2",
        "blocks.{}.mlp.fc2": "blocks.{}.mlp.w3",
    }
)

# google-research/vision_transformer
_AUGREG = {
    "cls_token": "cls",
    "pos_embed": "Transformer.posembed_input.pos_embedding",
    "patch_embed.proj": "embedding",
    "blocks.{}.norm1": "Transformer.encoderblock_{}.LayerNorm_0",
    "blocks.{}.attn.qkv": _each(
        "Transformer.encoderblock_{}.MultiHeadDotProductAttention_1.*", *_QKV
    ),
    "blocks.{}.attn.proj": "Transformer.encoderblock_{}.MultiHeadDotProductAttention_1.out",
    "blocks.{}.norm2": "Transformer.encoderblock_{}.LayerNorm_2",
    "blocks.{}.mlp.fc1": "Transformer.encoderblock_{}.MlpBlock_3.Dense_0",
    "blocks.{}.mlp.fc2": "Transformer.encoderblock_{}.MlpBlock_3.Dense_1",
    "norm": "Transformer.encoder_norm",
    "head": "head",
}


def _in_chunks(name: str) -> str:
    """Training checkpoints have the blocks in chunks, and number them through all of these."""
    return re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name)


def _fold_class_position(tensors: Tensors) -> Tensors:
    """With registers, timm embeds patches alone, and adds its place to the class token."""
    if tensors.keys() >= {"reg_token", "cls_token", "pos_embed"}:
        first, rest = np.split(tensors["pos_embed"], [1], axis=1)
        tensors |= {"cls_token": tensors["cls_token"] + first, "pos_embed": rest}
    return tensors


def _split_biases(tensors: Tensors) -> Tensors:
    """Keys have no bias, and timm has models without any for weights whose biases are all zero."""
    for name in [name for name in tensors if name.endswith(".attn.qkv.bias")]:
        bias = tensors.pop(name) * tensors.pop(f"{name}_mask", np.float32(1))
        module = name.removesuffix("qkv.bias")
        query, _, value = np.split(bias, 3)
        tensors |= {f"{module}q_bias": query, f"{module}v_bias": value}
    biases = {name for name in tensors if name.endswith((".attn.q_bias", ".attn.v_bias"))}
    if not any(tensors[name].any() for name in biases):
        return {name: array for name, array in tensors.items() if name not in biases}
    return tensors


def _split_pooling(tensors: Tensors) -> Tensors:
    """The query of timm's attention pooling has a matrix of its own."""
    for end in ("weight", "bias"):
        if (stacked := tensors.pop(f"attn_pool.qkv.{end}", None)) is not None:
            query, rest = np.split(stacked, [len(stacked) // 3])
            tensors |= {f"attn_pool.q.{end}": query, f"attn_pool.kv.{end}": rest}
    return tensors


def _with_head_bias(tensors: Tensors) -> Tensors:
    """timm's head has a bias where the projection has none."""
    if "head.weight" in tensors:
        tensors.setdefault("head.bias", np.zeros(len(tensors["head.weight"]), np.float32))
    return tensors


def _flax_to_torch(name: str, array: np.ndarray) -> np.ndarray:
    """Kernels have their outputs last, and the heads of attention an axis of their own."""
    if name.endswith(".bias"):
        return array.reshape(-1)
    if not name.endswith(".kernel"):
        return array
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    if ".out." in name:
        return array.reshape(-1, array.shape[-1]).T
    return array.reshape(len(array), -1).T


PROJECTS = (
    Project("timm", TIMM),
    Project(
        "facebookresearch's DINOv2",
        _FACEBOOK_DINOV2,
        spell=_in_chunks,
        arrange=_fold_class_position,
    ),
    *(
        Project("facebookresearch's DINOv3", table, spell=_in_chunks, arrange=_split_biases)
        for table in (_FACEBOOK_DINOV3, _FACEBOOK_GATED_DINOV3)
    ),
    Project("transformers' ViT", rows(_VIT), "vit", _POOLER),
    Project("transformers' DeiT", rows(_DEIT), "deit", _POOLER),
    Project("transformers' DINOv2", rows(_DINOV2), arrange=_fold_class_position),
    *(
        Project("transformers' DINOv3", rows(table), arrange=_split_biases)
        for table in (_DINOV3, _GATED_DINOV3)
    ),
    Project("transformers' SigLIP", rows(_SIGLIP), "siglip", _PLACES, arrange=_split_pooling),
    Project("transformers' CLIP", rows(_CLIP), "clip", _PLACES, arrange=_with_head_bias),
    Project(
        "Google's AugReg",
        rows(_AUGREG, lambda module: "scale" if "norm" in module else "kernel"),
        "vit",
        layout=_flax_to_torch,
    ),
)

ANCHORS = tuple(dict.fromkeys(project.anchor for project in PROJECTS))
"""The names by which the weights of a ViT are recognised, whatever wrappers put before them."""

HEADS = frozenset(
    name for project in PROJECTS for ours in CLASSIFIER for name in project.names.get(ours, ())
)
"""The names of classifiers, which may lie beside a backbone that has a prefix."""


def recognize(names: Collection[str]) -> Project | None:
    """Returns the project that knows most of the names, if they have its patch embedding."""
    own = [project for project in PROJECTS if project.anchor in names]
    return max(own, key=lambda project: project.known(names), default=None)


def nearest_project(names: Collection[str]) -> str:
    """Returns a sentence that tells the project with most of the names; "" if it has few."""
    inner = {name.partition(".")[2] for name in names}  # a model of which this is a part
    counts = {
        project.title: max(project.known(names), project.known(inner)) for project in PROJECTS
    }
    best = max(counts, key=counts.__getitem__)
    if 4 * counts[best] < len(names) or best == PROJECTS[0].title:
        return ""
    return f"Its names are nearest to those of {best}: {counts[best]} of {len(names)}."
