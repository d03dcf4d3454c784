"""CLIP (arXiv 2103.00020) and OpenCLIP (arXiv 2212.07143): a norm before the first block.

Those with `quickgelu` in their names are computed as they were trained; the others with the exact
GELU, as they were fine-tuned.
"""

from typing import Any

from renyi_jax.models.families.family import HALF, Family, rows, square
from renyi_jax.models.spec import ModelSpec

_SHAPE = {
    "pre_norm": True,
    "norm_eps": 1e-5,
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
_JOINT = {"base": 512, "large": 768, "huge": 1024}
"""Width of the space that images and texts share, to which the head of the tower projects."""

_CONTRASTIVE = (
    "openai",
    "laion2b",
    "laion400m_e32",
    "datacompxl",
    "dfn2b",
    "dfn2b_s39b",
    "dfn5b",
    "metaclip_400m",
    "metaclip_2pt5b",
    "metaclip_altogether",
    "metaclip2_worldwide",
    "apple_mclip2_dfndr2b",
)
_CROPS = {
    "vit_base_patch32_clip_224": {1.0: ("datacompxl", "metaclip_2pt5b", "metaclip_400m")},
    "vit_base_patch32_clip_384": {0.95: ("openai_ft_in12k_in1k",)},
    "vit_base_patch16_clip_224": {
        0.9: ("openai_ft_in1k", "laion2b_ft_in12k", "openai_ft_in12k", "openai"),
        1.0: ("laion2b_ft_in1k", *_CONTRASTIVE[1:]),
    },
    "vit_base_patch16_clip_384": {0.95: ("openai_ft_in12k_in1k",)},
    "vit_base_patch32_clip_quickgelu_224": {1.0: ("metaclip_2pt5b", "metaclip_400m")},
    "vit_base_patch16_clip_quickgelu_224": {0.9: ("openai",)},
}
"""Shares of the evaluation crop that differ from that of the name alone."""


def _towers(size: str, patch: int, crops: dict[str, float]) -> dict[str, ModelSpec]:
    """Returns a row for each image size, by the end of its name, and its crop."""
    models = {}
    for end, crop in crops.items():
        *quick, side = end.split("_")
        contrastive = quick or (size, patch, end) in (("base", 32, "256"), ("huge", 14, "378"))
        shape = _SHAPE | {
            "patch_size": patch,
            "image_size": square(int(side)),
            "crop_pct": crop,
            "num_classes": _JOINT[size] if contrastive else 1000,
            "activation": "quick_gelu" if quick else "gelu",
        }
        if size == "large" and not quick:  # those of LAION-2B, which come first
            shape |= {"mean": HALF, "std": HALF}
        models |= rows(f"vit_{{}}_patch{patch}_clip_{end}", size, **shape)
    return models


def _tags(name: str) -> dict[str, dict[str, Any]]:
    """Returns what each tag changes of one model."""
    size = name.split("_")[1]
    tuned = (f"{data}_ft_{sets}" for data in ("laion2b", "openai") for sets in _TUNED)
    tags = {}
    for tag in (*_CONTRASTIVE, *tuned):
        changes = {"num_classes": _TUNED.get(tag.partition("_ft_")[2], _JOINT[size])}
        if size == "large" and not tag.startswith("laion2b"):
            changes |= {"mean": _SHAPE["mean"], "std": _SHAPE["std"]}
        for crop, cropped in _CROPS.get(name, {}).items():
            changes |= {"crop_pct": crop} if tag in cropped else {}
        tags[f"{name}.{tag}"] = changes
    return tags


_TUNED = {"in1k": 1000, "in12k": 11821, "in12k_in1k": 1000}
"""Classes of the data sets that a tower was fine-tuned on, the last of which counts."""

_MODELS = {
    **_towers("base", 32, {"224": 0.9, "256": 1.0, "384": 1.0, "448": 1.0, "quickgelu_224": 0.9}),
    **_towers("base", 16, {"224": 0.95, "384": 1.0, "quickgelu_224": 1.0}),
    **_towers("large", 14, {"224": 1.0, "336": 1.0, "quickgelu_224": 1.0, "quickgelu_336": 1.0}),
    **_towers(
        "huge",
        14,
        {"224": 1.0, "336": 1.0, "378": 1.0, "quickgelu_224": 1.0, "quickgelu_378": 1.0},
    ),
}

CLIP = Family(_MODELS, {tag: changes for name in _MODELS for tag, changes in _tags(name).items()})
