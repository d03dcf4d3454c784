"""Early stopping: the best weights are kept, and a run ends once nothing better comes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from renyi_jax.training.run import Hook, Run
from renyi_jax.training.state import Best, TrainState


class KeepBest(Hook):
    """Keeps the most accurate weights; ends the run after `patience` epochs without better ones.

    They are part of the state, so that an interrupted run resumes with the same patience.
    """

    def __init__(self, patience: int, shardings: TrainState):
        self._patience = patience
        # Copies: the training step consumes the arrays of the state.
        self._copy = jax.jit(
            lambda params, accuracy, step: Best(
                jax.tree.map(jnp.copy, params), jnp.float32(accuracy), jnp.int32(step)
            ),
            out_shardings=shardings.best,
        )

    def begin(self, run: Run) -> None:
        best: Any = run.state.best
        self._accuracy, self._step = np.float32(best.accuracy), int(best.step)
        self.after_step(run)

    def after_step(self, run: Run) -> None:
        if run.accuracy is None:
            return
        # In the state's precision, so that a resumed run compares the same numbers.
        accuracy = np.float32(run.accuracy)
        if accuracy > self._accuracy:
            self._accuracy, self._step = accuracy, run.step
            best = self._copy(run.state.evaluated, accuracy, run.step)
            run.state = dataclasses.replace(run.state, best=best)
        elif run.step - self._step >= self._patience * run.epoch_steps and not run.stopped:
            run.last_step = run.step
            logging.info(
                "Stopping early after epoch %g: none since epoch %g was better than %.1f %%.",
                *(run.step / run.epoch_steps, self._step / run.epoch_steps, 100 * self._accuracy),
            )
