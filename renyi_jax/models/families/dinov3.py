"""DINOv3 (arXiv 2508.10104): rotary positions alone, and registers.

The class token is there, but timm pools the patches.
"""

from renyi_jax.models.families.family import WIDTHS, Family, square
from renyi_jax.models.rotary import Rotary
from renyi_jax.models.spec import ModelSpec

_SHAPE = {
    "image_size": square(256),
    "num_classes": 0,
    "num_registers": 4,
    "pool": "mean",
    "learned_positions": False,
    "rotary": Rotary(base=100.0),
    "layer_scale": 1e-5,
    "norm_eps": 1e-5,
    "crop_pct": 1.0,
    "renamed": (
        ("blocks.{}.ls1.gamma", "blocks.{}.gamma_1"),
        ("blocks.{}.ls2.gamma", "blocks.{}.gamma_2"),
    ),
}
_SATELLITE = {"mean": (0.43, 0.411, 0.296), "std": (0.213, 0.156, 0.143)}

DINOV3 = Family(
    models={
        f"vit_{size}_patch16_dinov3{suffix}": ModelSpec(
            **(WIDTHS[size.removesuffix("_plus")] | _SHAPE),
            activation="swiglu" if size.endswith("_plus") else "gelu",
            qkv_bias=bias,
        )
        for suffix, bias in (("", ""), ("_qkvb", "qv"))
        for size in ("small", "small_plus", "base", "large")
    },
    tags={"sat493m": _SATELLITE},
)
