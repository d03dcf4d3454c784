"""What a trained model is worth under this pruning and others, without training again."""

from renyi_jax.evaluation.run import run_evaluations
from renyi_jax.pruning.sweep import evaluation_settings
