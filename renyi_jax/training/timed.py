"""The train step, to be timed by the benchmark."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renyi_jax.config import check_config, default_config
from renyi_jax.models import VisionTransformer, weights_of
from renyi_jax.training.optimizer import make_optimizer
from renyi_jax.training.state import TrainState
from renyi_jax.training.step import make_train_step


def timed_train_step(
    model: VisionTransformer, batch_size: int
) -> tuple[jax.stages.Compiled, Callable[[], Any]]:
    """Returns XLA's program of a step on random pixels, and a call that makes the next step.

    The config is the default: AdamW on clipped gradients, smoothed labels, nothing mixed. The first
    call consumes the weights of `model`.
    """
    config: Any = check_config(default_config())
    optimizer = make_optimizer(config.train, lambda step: jnp.float32(config.train.learning_rate))
    rng = np.random.default_rng(0)
    shape = (batch_size, *model.spec.image_size, 3)
    batch = {
        "image": jnp.asarray(rng.integers(0, 256, shape, dtype=np.uint8)),
        "label": jnp.arange(batch_size) % model.spec.num_classes,
    }
    state = TrainState.create(weights_of(model), optimizer, config.train)
    step = make_train_step(model, optimizer, config).lower(state, batch).compile()

    def run() -> Any:
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    return step, run
