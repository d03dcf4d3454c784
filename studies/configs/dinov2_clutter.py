"""DINOv2 ViT-S/14 on cluttered Fashion-MNIST at 112 pixels, 64 patches: study B.

A training sees 3,200 garments twice, each time on a new canvas: 200 steps.
python -m studies.features --config=studies/configs/dinov2_clutter.py --probe \\
    --config.model.weights=dinov2.safetensors --out=runs/study_dinov2
python -m studies.trained --config=studies/configs/dinov2_clutter.py \\
    --config.model.weights=dinov2.safetensors --out=runs/study_dinov2
"""

from renyi_jax.config import default_config


def get_config():
    config = default_config()
    config.model.name = "vit_small_patch14_dinov2"
    config.model.weights = "hf_hub:timm/vit_small_patch14_dinov2.lvd142m"
    config.model.image_size = 112
    config.data.name = "cluttered_fashion_mnist"
    config.data.builder_config = "embedded"
    config.data.train_split = "train[:3200]"
    config.data.flip = True
    config.data.fresh_clutter = True
    config.data.batch_size = 32

    config.train.epochs = 2
    config.train.warmup_epochs = 0.1
    config.train.learning_rate = 5e-5
    config.train.evaluate_every_epochs = 0
    config.evaluate.batch_size = 50
    return config
