"""DINOv2 (arXiv 2304.07193), without and with registers (arXiv 2309.16588)."""

from renyi_jax.models.families.family import Family, rows, square

_SIZES = ("small", "base", "large")
_SHAPE = {
    "patch_size": 14,
    "image_size": square(518),
    "num_classes": 0,
    "layer_scale": 1e-5,
    "crop_pct": 1.0,
}

DINOV2 = Family(
    models={
        **rows("vit_{}_patch14_dinov2", *_SIZES, **_SHAPE),
        **rows(
            "vit_{}_patch14_reg4_dinov2",
            *_SIZES,
            **_SHAPE,
            num_registers=4,
            prefix_embedded=False,
        ),
    }
)
