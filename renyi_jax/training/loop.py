"""The loop: from a model and a data set to a trained model, through any number of interruptions."""

import itertools
import time
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from etils import epath
from flax import nnx
from tqdm import tqdm

from renyi_jax.data import Dataset, eval_loader, steps_per_epoch
from renyi_jax.models import VisionTransformer
from renyi_jax.training.checkpoints import Checkpoints
from renyi_jax.training.metrics_log import MetricsLog
from renyi_jax.training.optimizer import learning_rate_schedule, make_optimizer
from renyi_jax.training.setup import training_batches
from renyi_jax.training.state import TrainState
from renyi_jax.training.step import Metrics, make_count_correct, make_train_step


def train(model: VisionTransformer, dataset: Dataset, config: Any, workdir: epath.Path) -> None:
    """Trains `model`, in place, to the end of the last epoch.

    Goes on from the latest checkpoint in the workdir; on the same devices the result is the same,
    bit for bit, as that of a run that nothing interrupted. Where the last epoch is done, it only
    loads the weights. Of no epochs, it leaves the model as it is.

    Args:
        model: with the weights to start from.
        dataset: of `load_dataset`.
        config: of `check_config`.
        workdir: gets `checkpoints/`, `metrics.jsonl` and `tensorboard/`.

    Raises:
        UserError: the workdir holds a run of another config, or the data cannot fill a batch.
    """
    if config.train.epochs == 0:
        return
    batches = training_batches(model, dataset, config)
    epoch_steps = steps_per_epoch(dataset, config.data.batch_size)
    schedule = learning_rate_schedule(config.train, config.data.batch_size, epoch_steps)
    optimizer = make_optimizer(config.train, schedule)
    # Copies, since steps use up their arrays, which other models may share.
    params = jax.tree.map(jnp.copy, nnx.to_pure_dict(nnx.state(model)))
    state = TrainState.create(params, optimizer)
    with Checkpoints(workdir / "checkpoints", config) as checkpoints:
        state = checkpoints.restore(state, batches)
        if state.step < config.train.epochs * epoch_steps:
            run = _Run(model, dataset, config, optimizer, schedule, epoch_steps)
            with MetricsLog(workdir, int(state.step)) as log:
                state = run.to_the_end(state, batches, checkpoints, log)
    nnx.update(model, state.params)


class _Run:
    """What stays the same from step to step."""

    def __init__(
        self,
        model: VisionTransformer,
        dataset: Dataset,
        config: Any,
        optimizer: optax.GradientTransformation,
        schedule: optax.Schedule,
        epoch_steps: int,
    ):
        self._model, self._dataset, self._config = model, dataset, config
        self._schedule, self._epoch_steps = schedule, epoch_steps
        self._total_steps = config.train.epochs * epoch_steps
        self._train_step = make_train_step(model, optimizer, config)
        self._count_correct = make_count_correct(model)

    def to_the_end(
        self,
        state: TrainState,
        batches: grain.DatasetIterator,
        checkpoints: Checkpoints,
        log: MetricsLog,
    ) -> TrainState:
        start = int(state.step)
        save_every = self._config.checkpoint.every_steps or self._epoch_steps
        window = _Window(self._config.data.batch_size)
        with tqdm(
            total=self._total_steps, initial=start, desc="Training", unit="step", disable=None
        ) as bar:
            for step in range(start + 1, self._total_steps + 1):
                # Nothing below waits for the device until a window's metrics are fetched, so that
                # the host prepares the next steps while the device computes.
                state, metrics = self._train_step(state, next(batches))
                window.add(metrics)
                bar.update()
                epoch_ends = step % self._epoch_steps == 0
                if step % self._config.train.log_every_steps == 0 or epoch_ends:
                    self._log(log, bar, step, **window.close())
                if epoch_ends and self._is_evaluated(step // self._epoch_steps):
                    self._log(log, bar, step, test_accuracy=self._test_accuracy(state.params))
                if step % save_every == 0 or step == self._total_steps:
                    checkpoints.save(state, batches, step)
                if epoch_ends:
                    window.open()
        return state

    def _log(self, log: MetricsLog, bar: tqdm, step: int, **values: float) -> None:
        if "loss" in values:
            # The rate of the update that made this step of the last.
            values["learning_rate"] = float(np.asarray(self._schedule(step - 1)))
        log.write(step, step / self._epoch_steps, **values)
        shown = {name: f"{value:.3g}" for name, value in values.items() if name in _SHOWN}
        if bar.disable:
            told = ", ".join(f"{name} {value}" for name, value in shown.items())
            logging.info("Step %d of %d: %s", step, self._total_steps, told)
        else:
            bar.set_postfix(shown)

    def _is_evaluated(self, epoch: int) -> bool:
        every = self._config.train.evaluate_every_epochs
        return every > 0 and epoch % every == 0

    def _test_accuracy(self, params: Any) -> float:
        """Top-1 on the test split, or on the first batches of it."""
        batches = eval_loader(
            self._dataset,
            batch_size=self._config.evaluate.batch_size,
            image_size=self._model.spec.image_size,
            crop_pct=self._config.data.crop_pct or self._model.spec.crop_pct,
        )
        correct, valid = [], 0
        for batch in itertools.islice(batches, self._config.train.evaluate_batches or None):
            correct.append(self._count_correct(params, batch))
            valid += batch["valid"].sum()
        return float(np.sum(jax.device_get(correct)) / valid)


_SHOWN = ("loss", "accuracy", "images_per_second", "test_accuracy")


class _Window:
    """The steps since the last log: their metrics, on the device, and the time that they took.

    The first step of all compiles, and is waited for and not timed.
    """

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._compiled = False
        self.open()

    def open(self) -> None:
        self._metrics: list[Metrics] = []
        self._timed_steps = 0
        self._opened = time.perf_counter()

    def add(self, metrics: Metrics) -> None:
        self._metrics.append(metrics)
        if self._compiled:
            self._timed_steps += 1
        else:
            jax.block_until_ready(metrics)
            self._compiled = True
            self._opened = time.perf_counter()

    def close(self) -> dict[str, float]:
        """Their means, and the throughput; opens the next window."""
        fetched = jax.device_get(self._metrics)
        seconds = time.perf_counter() - self._opened
        means = {name: float(np.mean([m[name] for m in fetched])) for name in fetched[0]}
        if self._timed_steps:
            means["images_per_second"] = self._timed_steps * self._batch_size / seconds
        self.open()
        return means
