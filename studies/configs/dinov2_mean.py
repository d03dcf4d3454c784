"""DINOv2 ViT-S/14 read by the mean of its patches, its class token ignored: study B.

python -m studies.features --config=studies/configs/dinov2_mean.py --plans=planned --probe \\
    --baseline=random --config.model.weights=dinov2.safetensors --out=runs/study_dinov2_mean
"""

import dataclasses

from dinov2_clutter import get_config as with_class_token

from renyi_jax.models import MODELS

NAME = "vit_small_patch14_dinov2"
MODELS["dinov2_mean"] = dataclasses.replace(MODELS[NAME], pool="mean", name="dinov2_mean")


def get_config():
    config = with_class_token()
    config.model.name = "dinov2_mean"
    return config
