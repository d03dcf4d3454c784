"""TIPSv2 (arXiv 2604.12012): image towers with one register, of pixels in [0, 1]."""

from renyi_jax.models.families.family import Family, rows, square

_SHAPE = {
    "patch_size": 14,
    "image_size": square(448),
    "num_classes": 0,
    "num_registers": 1,
    "prefix_embedded": False,
    "layer_scale": 1.0,
    "mean": (0.0, 0.0, 0.0),
    "std": (1.0, 1.0, 1.0),
    "crop_pct": 1.0,
}

TIPS = Family(models=rows("vit_{}_patch14_reg1_tipsv2", "base", "large", "so400m", **_SHAPE))
