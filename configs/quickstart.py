"""Fine-tunes the shipped ViT with Rényi pruning (keep rate 0.7, alpha 2), compares, and plans.

The plan costs what the pruning does. Takes at most 7 minutes on 2 cores; needs no network and no
accelerator.
python -m renyi_jax.main --config=configs/quickstart.py --workdir=runs/quickstart
"""

from renyi_jax.config import default_config


def get_config():
    config = default_config()
    config.model.name = "vit_nano_patch4_56"
    config.model.weights = "embedded:vit_nano_patch4_56"

    config.pruning.criterion = "renyi"
    config.pruning.alpha = 2.0
    config.pruning.keep_rate = 0.7

    # 6,000 photographs of garments in clutter, shipped too.
    config.data.name = "cluttered_fashion_mnist"
    config.data.builder_config = "embedded"
    config.data.flip = True
    config.data.fresh_clutter = True
    config.data.batch_size = 64

    config.train.epochs = 1
    config.train.warmup_epochs = 0.1
    config.train.learning_rate = 2e-4
    config.train.log_every_steps = 10
    config.train.evaluate_every_epochs = 0  # the sweep below does

    config.evaluate.keep_rates = (1.0, 0.7, 0.5)
    config.evaluate.alphas = (1.0, 2.0, 4.0)
    config.evaluate.criteria = ("renyi", "cls_attention", "random")
    config.evaluate.plan_candidates = 32
    return config
