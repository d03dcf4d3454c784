"""The small ViT whose weights this package ships."""

from renyi_jax.models.families.family import HALF, Family, square
from renyi_jax.models.spec import ModelSpec

NANO = Family(
    models={
        "vit_nano_patch4_56": ModelSpec(
            embed_dim=64,
            depth=12,
            num_heads=4,
            patch_size=4,
            image_size=square(56),
            num_classes=10,
            mean=HALF,
            std=HALF,
            crop_pct=1.0,
        )
    }
)
