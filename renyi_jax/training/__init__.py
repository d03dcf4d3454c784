"""Training: the state, the optimiser, the step, the loop, and what it leaves in the workdir."""

from renyi_jax.training.loop import train
from renyi_jax.training.optimizer import decays, learning_rate_schedule, make_optimizer
from renyi_jax.training.setup import build_model, training_batches
from renyi_jax.training.state import TrainState
from renyi_jax.training.step import make_train_step

__all__ = [
    "TrainState",
    "build_model",
    "decays",
    "learning_rate_schedule",
    "make_optimizer",
    "make_train_step",
    "train",
    "training_batches",
]
