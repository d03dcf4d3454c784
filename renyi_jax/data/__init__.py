"""Data sets (TFDS builders) and the Grain pipeline that feeds training and evaluation."""

from renyi_jax.data.dataset import Dataset, fingerprint
from renyi_jax.data.datasets import count_classes, load_dataset
from renyi_jax.data.pipeline import eval_loader, steps_per_epoch, train_loader
