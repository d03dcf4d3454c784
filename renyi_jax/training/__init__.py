"""Training: the state, the optimiser, the step, the loop, and what it leaves in the workdir."""

from renyi_jax.training.loop import initial_state, train
from renyi_jax.training.optimizer import (
    decays,
    layer_scales,
    learning_rate_schedule,
    make_optimizer,
)
from renyi_jax.training.setup import build_model, training_batches, with_fitting_batch
from renyi_jax.training.state import TrainState
from renyi_jax.training.step import make_loss, make_train_step
from renyi_jax.training.stopping import Stopped, leave_on_signals, tell_preemption_service
from renyi_jax.training.workdir import claim
