"""The pretrained ViT that the package ships: vit_nano on the whole cluttered Fashion-MNIST.

Takes some hours on 2 cores; needs the four IDX files of Fashion-MNIST, or the network.
python -m renyi_jax.main --config=configs/pretrain_cluttered.py --workdir=runs/pretrain \
  --config.data.manual_dir=FOLDER_OF_IDX_FILES
"""

from renyi_jax.config import default_config


def get_config():
    config = default_config()
    config.model.name = "vit_nano_patch4_56"
    config.model.patch_drop_rate = 0.5
    config.pruning.keep_rate = 1.0  # the plain model

    config.data.name = "cluttered_fashion_mnist"
    config.data.builder_config = "full"
    config.data.flip = True
    config.data.fresh_clutter = True
    config.data.batch_size = 128

    config.train.epochs = 20
    config.train.warmup_epochs = 0.5
    config.train.learning_rate = 2e-3
    config.train.final_learning_rate = 0.01
    config.train.b2 = 0.98
    config.train.weight_decay = 0.05
    config.train.label_smoothing = 0.1

    config.checkpoint.every_steps = 200
    return config
