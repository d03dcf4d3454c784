"""DINOv2 ViT-S/14 at 224 pixels on crops of nine photographs, without labels: study B.

python -m studies.photographs --out=runs/photographs
python -m studies.features --config=studies/configs/dinov2_photographs.py --by_class \\
    --config.model.weights=dinov2.safetensors --out=runs/study_photographs
"""

from renyi_jax.config import default_config


def get_config():
    config = default_config()
    config.model.name = "vit_small_patch14_dinov2"
    config.model.weights = "hf_hub:timm/vit_small_patch14_dinov2.lvd142m"
    config.model.image_size = 224
    config.data.name = "image_folder"
    config.data.manual_dir = "runs/photographs"
    config.evaluate.batch_size = 15
    return config
