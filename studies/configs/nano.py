"""The shipped ViT on the whole cluttered Fashion-MNIST: the model and the budget of study A.

A training sees 19,200 garments once, each on a new canvas: 300 steps from the shipped weights.
python -m studies.untrained --config=studies/configs/nano.py --out=runs/study_nano
python -m studies.trained --config=studies/configs/nano.py --out=runs/study_nano
"""

from renyi_jax.config import default_config


def get_config():
    config = default_config()
    config.model.name = "vit_nano_patch4_56"
    config.model.weights = "embedded:vit_nano_patch4_56"

    config.data.name = "cluttered_fashion_mnist"
    config.data.builder_config = "full"
    config.data.train_split = "train[:19200]"
    config.data.flip = True
    config.data.fresh_clutter = True
    config.data.batch_size = 64

    config.train.epochs = 1
    config.train.warmup_epochs = 0.1
    config.train.learning_rate = 2e-4
    config.train.evaluate_every_epochs = 0
    return config
