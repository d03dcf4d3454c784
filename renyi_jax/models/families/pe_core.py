"""PE-Core (arXiv 2504.13181): attention pooling, rotary and learned positions."""

from renyi_jax.models.families.family import HALF, WIDTHS, Family, square
from renyi_jax.models.rotary import Rotary
from renyi_jax.models.spec import ModelSpec

# (size, patch side, image side, width of the space that images and texts share)
_TOWERS = [
    ("tiny", 16, 384, 512),
    ("small", 16, 384, 512),
    ("base", 16, 224, 1024),
    ("large", 14, 336, 1024),
]


def _tower(size: str, patch: int, side: int, joint: int) -> ModelSpec:
    grid = side // patch
    return ModelSpec(
        **WIDTHS[size],
        patch_size=patch,
        image_size=square(side),
        num_classes=joint,
        pool="map",
        pool_heads=8,
        pool_prefix=True,
        rotary=Rotary(base=10_000.0, reference=(grid, grid), columns_first=True, interleaved=True),
        pre_norm=True,
        norm_eps=1e-5,
        mean=HALF,
        std=HALF,
        crop_pct=1.0,
    )


PE_CORE = Family(
    {
        f"vit_pe_core_{size}_patch{patch}_{side}": _tower(size, patch, side, joint)
        for size, patch, side, joint in _TOWERS
    }
)
