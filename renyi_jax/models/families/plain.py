"""The plain ViT (Dosovitskiy et al. 2021, arXiv 2010.11929): AugReg, DINO, MAE."""

from renyi_jax.models.families.family import HALF, Family, rows, square
from renyi_jax.models.spec import IMAGENET_MEAN, IMAGENET_STD

_PIXELS = {"mean": HALF, "std": HALF}
_AT_384 = _PIXELS | {"image_size": square(384), "crop_pct": 1.0}
_SELF_SUPERVISED = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "num_classes": 0}

PLAIN = Family(
    models={
        **rows("vit_{}_patch16_224", "tiny", "small", "base", "large", **_PIXELS),
        **rows("vit_{}_patch16_384", "tiny", "small", "base", "large", **_AT_384),
        **rows("vit_{}_patch32_224", "small", "base", patch_size=32, **_PIXELS),
        **rows("vit_{}_patch32_384", "small", "base", patch_size=32, **_AT_384),
        **rows("vit_{}_patch8_224", "base", patch_size=8, **_PIXELS),
        **rows("vit_{}_patch14_224", "huge", patch_size=14, num_classes=0, **_PIXELS),
    },
    tags={
        "dino": _SELF_SUPERVISED,
        "mae": _SELF_SUPERVISED,
        "augreg_in21k": {"num_classes": 21843},
        "orig_in21k": {"num_classes": 0},
        "untrained": {"num_classes": 1000},
    },
)
