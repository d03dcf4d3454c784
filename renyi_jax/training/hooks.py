"""The hooks of a run: keep rates, notice to stop, log, validation, best weights, checkpoints."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from jax.experimental import multihost_utils
from tqdm import tqdm

from renyi_jax.common.progress import phase, progress_bar
from renyi_jax.pruning import PruningConfig
from renyi_jax.training.checkpoints import Checkpoints
from renyi_jax.training.run import Hook, Run
from renyi_jax.training.state import Best, TrainState
from renyi_jax.training.stopping import StopNotice


class Level(NamedTuple):
    """A pruning, and the number of steps done when it begins."""

    first_step: int
    pruning: PruningConfig | None


def keep_rate_levels(
    pruning: PruningConfig | None, options: Any, steps_per_epoch: int
) -> list[Level]:
    """Returns the levels of a run in order; a single level is the target from the start.

    EViT lowers the keep rate along half a cosine (Liang et al. 2022, arXiv 2202.07800, section 4),
    so that a network never misses many patches at once. Each level compiles a training step, so the
    curve is cut into `train.keep_rate_levels` of them, over `train.keep_rate_epochs`.
    """
    falls = options.keep_rate_levels - 1
    if pruning is None or not options.keep_rate_epochs or not falls:
        return [Level(0, pruning)]
    steps = options.keep_rate_epochs * steps_per_epoch
    return [
        Level(round(steps * number / falls), _eased(pruning, number / falls))
        for number in range(falls + 1)
    ]


def _eased(pruning: PruningConfig, progress: float) -> PruningConfig:
    """`pruning` with keep rates that have gone so much of their way from 1."""
    share = (1 - math.cos(math.pi * progress)) / 2
    rates = tuple(1 - share * (1 - rate) for rate in pruning.per_block("keep_rate"))
    return pruning if progress == 1 else dataclasses.replace(pruning, keep_rate=rates)


@dataclasses.dataclass
class KeepRates(Hook):
    """Switches to another training step where the keep rate falls to its next level."""

    levels: Sequence[Level]
    make_step: Callable[[PruningConfig | None], Callable]

    def begin(self, run: Run) -> None:
        self._take(run, self._levels_begun(run.step)[-1])

    def after_step(self, run: Run) -> None:
        begun = self._levels_begun(run.step)
        if self.levels[begun[-1]].first_step == run.step:
            self._take(run, begun[-1])

    def _levels_begun(self, step: int) -> list[int]:
        return [number for number, level in enumerate(self.levels) if level.first_step <= step]

    def _take(self, run: Run, number: int) -> None:
        if run.step >= run.last_step:
            return
        pruning = self.levels[number].pruning
        if len(self.levels) > 1 and pruning is not None:
            rates = ", ".join(f"{rate:.3g}" for rate in pruning.per_block("keep_rate"))
            logging.info(
                "Step %d: keep rate %s (level %d of %d).",
                *(run.step, rates, number + 1, len(self.levels)),
            )
        train_step = self.make_step(pruning)

        def first(state: Any, batch: Any) -> Any:
            run.train_step = train_step
            with run.window.paused(untimed_steps=1):
                with phase("Compiling the training step"):
                    state, metrics = train_step(state, batch)
                jax.block_until_ready(metrics)
            return state, metrics

        run.train_step = first


@dataclasses.dataclass
class Stop(Hook):
    """Ends the process after the step at which all processes know that they must stop."""

    notice: StopNotice

    def begin(self, run: Run) -> None:
        run.stopped = self.notice.cause if self.notice.given else ""

    def after_step(self, run: Run) -> None:
        run.stopped = self.notice.cause if self.notice.reached(run.step) else ""


@dataclasses.dataclass
class Log(Hook):
    """Logs the mean metrics and the throughput every `every_steps`, and at the end of an epoch."""

    every_steps: int
    schedule: optax.Schedule

    def after_step(self, run: Run) -> None:
        run.logged = run.step % self.every_steps == 0 or run.ends_epoch
        if run.logged:
            # The rate of the update that made this step of the last.
            rate = float(np.asarray(self.schedule(run.step - 1)))
            run.tell(**run.window.close(), learning_rate=rate)


@dataclasses.dataclass
class Validate(Hook):
    """Measures the accuracy on test images after epochs, and before training after a probe."""

    measure: Callable[[Any, Callable[[], bool]], float | None]
    options: Any
    checkpoints: Checkpoints
    notice: StopNotice

    def begin(self, run: Run) -> None:
        """Measures what a process that was told to stop did not."""
        run.accuracy = self.checkpoints.accuracy(run.step)
        if self._is_due(run) and run.accuracy is None and not run.stopped:
            self._validate(run)

    def after_step(self, run: Run) -> None:
        run.accuracy = None
        if self._is_due(run) and not run.stopped:
            self._validate(run)

    def _is_due(self, run: Run) -> bool:
        every_steps = self.options.evaluate_every_epochs * run.epoch_steps
        is_looked_at = run.ends_epoch or (run.step == 0 and self.options.probe)
        return is_looked_at and every_steps > 0 and run.step % every_steps == 0

    def _validate(self, run: Run) -> None:
        with run.window.paused():
            run.accuracy = self.measure(run.state.evaluated, lambda: self.notice.given)
        if run.accuracy is not None:
            run.tell(test_accuracy=run.accuracy)
        if self.notice.given:
            run.stopped = self.notice.cause


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


class Save(Hook):
    """Saves a checkpoint every so many steps (0: epochs), after a validation, and at the end."""

    def __init__(self, checkpoints: Checkpoints, options: Any, epoch_steps: int):
        self._checkpoints = checkpoints
        self._every_steps = options.every_steps or epoch_steps
        self._seconds = 60 * options.every_minutes

    def begin(self, run: Run) -> None:
        self._since = time.monotonic()

    def after_step(self, run: Run) -> None:
        if (
            run.step % self._every_steps == 0
            or run.step == run.last_step
            or run.stopped
            or run.accuracy is not None
            or (run.logged and self._time_has_passed())
        ):
            with run.window.paused():
                self._checkpoints.save(run.state, run.batches, run.step, run.accuracy)
            self._since = time.monotonic()

    def _time_has_passed(self) -> bool:
        """By the clock of process 0, whose answer all processes get."""
        if not self._seconds:
            return False
        passed = time.monotonic() - self._since >= self._seconds
        return bool(multihost_utils.broadcast_one_to_all(np.bool_(passed)))


class ProgressBar(Hook):
    """Shows the steps that the device has finished, and the time left; `shown` closes the bar.

    The bar starts after the first step, whose compilation is a phase of its own.
    """

    def __init__(self, shown: contextlib.ExitStack):
        self._shown = shown
        self._bar: tqdm | None = None

    def after_step(self, run: Run) -> None:
        if self._bar is None:
            run.window.check()
            # At the mean rate, so that the validations to come are counted in the time left.
            bar = progress_bar(
                "Training", run.last_step, unit="step", initial=run.window.finished, smoothing=0.0
            )
            self._bar = self._shown.enter_context(bar)
        self._bar.total = run.last_step
        self._bar.update(run.window.finished - self._bar.n)
        self._bar.set_postfix({k: f"{v:.3g}" for k, v in run.latest.items()}, refresh=False)
