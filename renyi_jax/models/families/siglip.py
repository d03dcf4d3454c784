"""SigLIP (arXiv 2303.15343) and SigLIP 2 (arXiv 2502.14786): image towers without a class token.

Those with `gap` in their names average the patches in the place of attention pooling.
"""

from typing import Any

from renyi_jax.models.families.family import HALF, Family, rows, square
from renyi_jax.models.spec import ModelSpec

_SHAPE = {"class_token": False, "num_classes": 0, "mean": HALF, "std": HALF}

# (size, patch side, image side), of which "gap" alone has the last two.
_TOWERS = [
    ("base", 32, 256),
    *(("base", 16, side) for side in (224, 256, 384, 512)),
    *(("large", 16, side) for side in (256, 384, 512)),
    *(("so400m", 14, side) for side in (224, 378)),
    *(("so400m", 16, side) for side in (256, 384, 512)),
    *(("so400m", 14, side) for side in (448, 896)),
]
_TANH = [("base", 32, 256), ("large", 16, 512), *(("so400m", 16, side) for side in (256, 384, 512))]
"""Those that timm computes with the approximate GELU, as all were trained; the others are not."""


def _towers(kind: str, towers: list[tuple[str, int, int]], **pool: Any) -> dict[str, ModelSpec]:
    models = {}
    for size, patch, side in towers:
        name = f"vit_{{}}_patch{patch}_{kind}_{side}"
        crop = {"crop_pct": 1.0} if side in (448, 896) else {}
        activation = "gelu_tanh" if (size, patch, side) in _TANH else "gelu"
        shape = _SHAPE | pool | crop | {"activation": activation}
        models |= rows(name, size, patch_size=patch, image_size=square(side), **shape)
    return models


SIGLIP = Family(
    models={
        **_towers("siglip", _TOWERS[:-2], pool="map"),
        **_towers("siglip_gap", _TOWERS, pool="mean"),
    },
    tags={
        "webli_ft_in1k": {"num_classes": 1000, "crop_pct": 1.0},
        "vit_so400m_patch14_siglip_gap_378.webli": {"crop_pct": 1.0},
    },
)
