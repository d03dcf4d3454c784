"""The loop: from a model and a data set to a trained model, through any number of interruptions."""

import contextlib
import time
from typing import Any, NoReturn

import grain
import jax
import numpy as np
import optax
from absl import logging
from etils import epath
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from tqdm import tqdm

from renyi_jax.data import Dataset, steps_per_epoch
from renyi_jax.errors import UserError
from renyi_jax.models import VisionTransformer
from renyi_jax.parallel import (
    BatchPlacement,
    make_mesh,
    on_mesh,
    replicated,
    state_shardings,
)
from renyi_jax.progress import phase
from renyi_jax.training.checkpoints import Checkpoints
from renyi_jax.training.keep_rates import keep_rate_levels
from renyi_jax.training.metrics_log import MetricsLog
from renyi_jax.training.optimizer import learning_rate_schedule, make_optimizer
from renyi_jax.training.setup import training_batches
from renyi_jax.training.state import TrainState
from renyi_jax.training.step import make_train_step
from renyi_jax.training.stopping import StopNotice, Stopped
from renyi_jax.training.validation import make_validation
from renyi_jax.training.window import NonFiniteError, Window


def train(
    model: VisionTransformer,
    dataset: Dataset,
    config: Any,
    workdir: epath.Path,
    force: bool = False,
) -> None:
    """Trains `model`, in place, to the end of the last epoch.

    Goes on from the latest checkpoint in the workdir; on the same devices the result is the same,
    bit for bit, as that of a run that nothing interrupted. Where the last epoch is done, it only
    loads the weights. Of no epochs, it leaves the model as it is.

    Args:
        model: with the weights to start from, the same in every process; gets the trained ones, or
            their moving average.
        dataset: of `load_dataset`.
        config: of `check_config`.
        workdir: gets `checkpoints/`, `metrics.jsonl` and `tensorboard/`.
        force: go on from the checkpoints of another config.

    Raises:
        UserError: the workdir holds a run of another config, the data cannot fill a batch, the mesh
            does not fit the devices, a checkpoint cannot be written, or a loss is not finite.
        Stopped: SIGTERM came; the checkpoint is written.
    """
    if config.train.epochs == 0:
        return
    mesh = make_mesh(config.mesh.to_dict())
    place = BatchPlacement(mesh, config.data.batch_size)
    batches = training_batches(model, dataset, config, part=(place.index, place.count))
    epoch_steps = steps_per_epoch(dataset, config.data.batch_size)
    schedule = learning_rate_schedule(config.train, config.data.batch_size, epoch_steps)
    optimizer = make_optimizer(config.train, schedule)
    with on_mesh(mesh), Checkpoints(workdir / "checkpoints", config) as checkpoints:
        state, shardings = initial_state(model, optimizer, config, mesh)
        state = checkpoints.restore(state, batches, force)
        run = _Run(model, dataset, config, optimizer, schedule, mesh, shardings, place)
        if not run.is_over(int(state.step), checkpoints):
            with MetricsLog(workdir, int(state.step)) as log, StopNotice() as notice:
                state = run.to_the_end(state, batches, checkpoints, log, notice)
        whole = jax.jit(lambda params: params, out_shardings=replicated(mesh))(state.evaluated)
    # On one device of this process, where the model was.
    nnx.update(model, jax.tree.map(lambda value: value.addressable_data(0), whole))


def initial_state(
    model: VisionTransformer, optimizer: optax.GradientTransformation, config: Any, mesh: Mesh
) -> tuple[TrainState, TrainState]:
    """The state before the first step, on the mesh, and the sharding of each of its arrays."""

    def create(params: Any) -> TrainState:
        return TrainState.create(params, optimizer, ema=config.train.ema_decay > 0)

    params = nnx.to_pure_dict(nnx.state(model))
    shardings = state_shardings(mesh, jax.eval_shape(create, params))
    # From arrays of the host, which are the same in every process, and not donated: each device
    # makes its own share.
    host = jax.tree.map(np.asarray, params)
    return jax.jit(create, out_shardings=shardings)(host), shardings


class _Run:
    """What stays the same from step to step."""

    def __init__(
        self,
        model: VisionTransformer,
        dataset: Dataset,
        config: Any,
        optimizer: optax.GradientTransformation,
        schedule: optax.Schedule,
        mesh: Mesh,
        shardings: TrainState,
        place: BatchPlacement,
    ):
        self._model, self._config = model, config
        self._optimizer, self._schedule = optimizer, schedule
        self._shardings, self._place = shardings, place
        self._epoch_steps = steps_per_epoch(dataset, config.data.batch_size)
        self._levels = keep_rate_levels(model.pruning, config.train, self._epoch_steps)
        self._validate = make_validation(model, dataset, config, mesh)
        self.total_steps = config.train.epochs * self._epoch_steps

    def is_over(self, step: int, checkpoints: Checkpoints) -> bool:
        """Whether nothing is left to do after so many steps."""
        return step == self.total_steps and not self._lacks_validation(step, checkpoints)

    def to_the_end(
        self,
        state: TrainState,
        batches: grain.DatasetIterator,
        checkpoints: Checkpoints,
        log: MetricsLog,
        notice: StopNotice,
    ) -> TrainState:
        start = int(state.step)
        timer = _SaveTimer(self._config.checkpoint.every_minutes)
        window = Window(self._config.data.batch_size)
        with tqdm(
            total=self.total_steps, initial=start, desc="Training", unit="step", disable=None
        ) as bar:
            if self._lacks_validation(start, checkpoints):
                self._log_accuracy(log, bar, start, state, notice)
                if notice.given:
                    self._stop(start)
            train_step, compiles = self._train_step(start), True
            for step in range(start + 1, self.total_steps + 1):
                if self._starts_level(step - 1) and step - 1 > start:
                    train_step, compiles = self._train_step(step - 1), True
                    window.expect_compilation()
                # Nothing below waits for the device until a window's metrics are fetched, so that
                # the host prepares the next steps while the device computes.
                batch = dict(next(batches))
                ids = batch.pop("index")
                compiling = phase("Compiling the training step")
                with compiling if compiles else contextlib.nullcontext():
                    state, metrics = train_step(state, self._place(batch))
                compiles = False
                window.add(step, metrics, ids)
                bar.update()
                epoch_ends = step % self._epoch_steps == 0
                stops = notice.reached(step)
                try:
                    is_due = self._is_saved(step) or stops
                    if step % self._config.train.log_every_steps == 0 or epoch_ends:
                        self._log(log, bar, step, **window.close())
                        is_due |= timer.is_due()
                    elif is_due:
                        window.check()
                except NonFiniteError as error:
                    raise UserError(
                        f"{error}\nLast good checkpoint: {checkpoints.latest}."
                    ) from error
                accuracy = None
                if self._is_validated(step) and not stops:
                    accuracy = self._log_accuracy(log, bar, step, state, notice)
                    stops, is_due = stops or notice.given, True
                if is_due:
                    checkpoints.save(state, batches, step, accuracy)
                    timer.reset()
                if stops:
                    self._stop(step)
                if epoch_ends:
                    window.open()
        return state

    def _stop(self, step: int) -> NoReturn:
        logging.warning(
            "Stopped by SIGTERM after step %d of %d. The same command goes on there.",
            *(step, self.total_steps),
        )
        raise Stopped

    def _train_step(self, step: int) -> Any:
        """The step at the keep rate that holds after so many steps."""
        number, level = [pair for pair in enumerate(self._levels, 1) if pair[1].first_step <= step][
            -1
        ]
        if len(self._levels) > 1 and level.pruning is not None:
            rates = ", ".join(f"{rate:.3g}" for rate in level.pruning.per_block("keep_rate"))
            logging.info(
                "Step %d: keep rate %s (level %d of %d).", step, rates, number, len(self._levels)
            )
        model = self._model.with_pruning(level.pruning)
        return make_train_step(model, self._optimizer, self._config, self._shardings)

    def _starts_level(self, step: int) -> bool:
        return any(level.first_step == step for level in self._levels)

    def _is_saved(self, step: int) -> bool:
        every = self._config.checkpoint.every_steps or self._epoch_steps
        return step % every == 0 or step == self.total_steps

    def _is_validated(self, step: int) -> bool:
        epochs, rest = divmod(step, self._epoch_steps)
        every = self._config.train.evaluate_every_epochs
        return step > 0 and not rest and every > 0 and epochs % every == 0

    def _lacks_validation(self, step: int, checkpoints: Checkpoints) -> bool:
        """Whether the run was stopped before it looked at the test images."""
        return self._is_validated(step) and checkpoints.accuracy(step) is None

    def _log(self, log: MetricsLog, bar: tqdm, step: int, **values: float) -> None:
        if "loss" in values:
            # The rate of the update that made this step of the last.
            values["learning_rate"] = float(np.asarray(self._schedule(step - 1)))
        log.write(step, step / self._epoch_steps, **values)
        shown = {name: f"{value:.3g}" for name, value in values.items() if name in _SHOWN}
        if bar.disable:
            told = ", ".join(f"{name} {value}" for name, value in shown.items())
            logging.info("Step %d of %d: %s", step, self.total_steps, told)
        else:
            bar.set_postfix(shown)

    def _log_accuracy(
        self, log: MetricsLog, bar: tqdm, step: int, state: TrainState, notice: StopNotice
    ) -> float | None:
        accuracy = self._validate(state.evaluated, lambda: notice.given)
        if accuracy is not None:
            self._log(log, bar, step, test_accuracy=accuracy)
        return accuracy


_SHOWN = ("loss", "accuracy", "images_per_second", "test_accuracy")


class _SaveTimer:
    """Says when so many minutes have passed, by the clock of process 0; of 0 minutes, never."""

    def __init__(self, minutes: float):
        self._seconds = 60 * minutes
        self.reset()

    def reset(self) -> None:
        self._since = time.monotonic()

    def is_due(self) -> bool:
        if not self._seconds:
            return False
        due = time.monotonic() - self._since >= self._seconds
        if jax.process_count() > 1:
            due = multihost_utils.broadcast_one_to_all(np.bool_(due))
        return bool(due)
