"""The weights that the package ships: vit_nano, unpruned, on the whole cluttered Fashion-MNIST.

Needs the network, or the four IDX files of Fashion-MNIST in a folder that --config.data.manual_dir
names. Six stages, each from the weights of the one before. The first four drop patches at random,
to be quick: with one epoch without, they took about three hours on 2 cores that did other work too.
The last keeps every patch for 30 epochs, to have no such habit left: minutes on a GPU.

before=""; for stage in alone clutter whole longer every long; do
  python -m renyi_jax.main --config=configs/pretrain_cluttered.py:$stage --workdir=runs/$stage \
    --config.model.weights=$before
  before=runs/$stage
done

The shipped weights took 1,000 steps of the second stage, on the slope of a cosine three times as
long; the end of that slope is what its final learning rate stands for.
"""

from renyi_jax.config import default_config
from renyi_jax.errors import UserError, nearest


def get_config(stage="alone"):
    if stage not in STAGES:
        known = ", ".join(STAGES)
        raise UserError(f"Unknown stage {stage!r}; known: {known}.{nearest(stage, STAGES)}")
    config = default_config()
    config.model.name = "vit_nano_patch4_56"
    config.pruning.keep_rate = 1.0  # the plain model

    config.data.name = "cluttered_fashion_mnist"
    config.data.builder_config = "full"
    config.data.flip = True
    config.data.fresh_clutter = True
    config.data.batch_size = 128

    config.train.b2 = 0.98
    config.train.weight_decay = 0.05
    config.train.label_smoothing = 0.1
    config.train.evaluate_batches = 10

    config.checkpoint.every_steps = 200
    return STAGES[stage](config)


def _alone(config):
    """Garments without clutter: a quarter of the patches holds all that there is to see."""
    config.data.clutter = 0
    config.model.patch_drop_rate = 0.75
    config.model.plain_patches_first = True
    config.train.epochs = 2
    config.train.warmup_epochs = 0.3
    config.train.learning_rate = 2e-3
    config.train.final_learning_rate = 0.3
    return config


def _clutter(config):
    """Clutter, and still no empty patches: which patches belong together."""
    config.model.patch_drop_rate = 0.6
    config.model.plain_patches_first = True
    config.train.epochs = 2
    config.train.warmup_epochs = 0.2
    config.train.learning_rate = 1.5e-3
    config.train.final_learning_rate = 0.75
    return config


def _whole(config):
    """Empty patches too, in their true share, since the model will meet them all."""
    config.model.patch_drop_rate = 0.5
    config.train.epochs = 2
    config.train.warmup_epochs = 0.1
    config.train.learning_rate = 1.2e-3
    config.train.final_learning_rate = 0.02
    return config


def _longer(config):
    """The same again, for three times as long."""
    config = _whole(config)
    config.train.epochs = 6
    config.train.final_learning_rate = 0.1
    return config


def _every(config):
    """Every patch of every image, as in use, while the learning rate runs out."""
    config.train.epochs = 1
    config.train.warmup_epochs = 0.05
    config.train.learning_rate = 1.5e-4
    return config


def _long(config):
    """Every patch again, from a high learning rate, until it has run out."""
    config.data.batch_size = 256
    config.train.epochs = 30
    config.train.warmup_epochs = 0.5
    config.train.learning_rate = 1.5e-3
    config.train.final_learning_rate = 0.0
    config.train.evaluate_every_epochs = 5
    config.checkpoint.every_steps = 0
    return config


STAGES = {
    "alone": _alone,
    "clutter": _clutter,
    "whole": _whole,
    "longer": _longer,
    "every": _every,
    "long": _long,
}
