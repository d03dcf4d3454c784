"""Data sets (TFDS builders) and the Grain pipeline that feeds training and evaluation."""

from renyi_jax.data.dataset import Dataset, fingerprint
