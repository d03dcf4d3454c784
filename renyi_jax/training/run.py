"""A run between two of its steps: its state, its metrics, and the hooks that act there."""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grain
import jax
import numpy as np
import tensorboardX
from absl import logging
from etils import epath

from renyi_jax.common.files import append_text, json_text, write_text
from renyi_jax.errors import UserError
from renyi_jax.training.state import TrainState
from renyi_jax.training.step import Metrics


class MetricsLog:
    """Appends metrics to `workdir/metrics.jsonl` and to TensorBoard; a context manager.

    Lines beyond `step`, the steps done so far, are of an interrupted run, and removed. Only process
    0 writes.
    """

    def __init__(self, workdir: epath.Path, step: int):
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        self._path = workdir / "metrics.jsonl"
        _remove_beyond(self._path, step or -1)
        self._tensorboard = tensorboardX.SummaryWriter(
            str(workdir / "tensorboard"), purge_step=step + 1
        )

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writes:
            self._tensorboard.close()

    def write(self, step: int, epoch: float, **values: float) -> None:
        """Logs `values` as what holds after `step` steps."""
        if not self._writes:
            return
        append_text(self._path, json_text({"step": step, "epoch": epoch, **values}) + "\n")
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)


def _remove_beyond(path: epath.Path, step: int) -> None:
    """Removes the lines of later steps than `step`, and one that a kill cut short."""

    def is_within(line: str) -> bool:
        try:
            return line.endswith("\n") and json.loads(line)["step"] <= step
        except json.JSONDecodeError:
            return False

    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if is_within(line)]
        if len(kept) < len(lines):
            write_text(path, "".join(kept))


IN_FLIGHT = 2
"""Steps that the device may be behind the host: the next batch is placed while one is computed, and
what is shown of the finished steps stays true."""


class NonFiniteError(UserError):
    """A loss or gradient that is no finite number."""


class Window:
    """The metrics, still on the device, and the time of the steps since the last log line.

    `finished` is the last step that the device is known to have finished.
    """

    def __init__(self, batch_size: int, step: int):
        self._batch_size = batch_size
        self.finished = step
        self._open()

    def _open(self) -> None:
        self._steps: list[tuple[int, Metrics, Any]] = []
        self._checked = 0
        self._timed_steps = 0
        self._opened = time.perf_counter()

    def add(self, step: int, metrics: Metrics, ids: np.ndarray) -> None:
        """Adds a step, its scalars, and the indices of its examples; waits for a late device."""
        self._steps.append((step, metrics, ids))
        self._timed_steps += 1
        self._wait(IN_FLIGHT)

    def check(self) -> None:
        """Waits for the steps so far; raises NonFiniteError for the first that is not finite."""
        self._wait(0)
        for step, metrics, ids in self._steps[self._checked :]:
            wrong = {k: v for k, v in jax.device_get(metrics).items() if not np.isfinite(v)}
            if wrong:
                values = ", ".join(f"{name} is {value}" for name, value in wrong.items())
                raise NonFiniteError(
                    f"Training stops at step {step}: {values}. Its batch are the examples"
                    f" {' '.join(map(str, ids))} of the training split."
                )
        self._checked = len(self._steps)

    @contextlib.contextmanager
    def paused(self, untimed_steps: int = 0) -> Iterator[None]:
        """Checks, and leaves the time of the body and its steps out of the throughput."""
        self.check()
        paused = time.perf_counter()
        yield
        self._opened += time.perf_counter() - paused
        self._timed_steps -= untimed_steps

    def close(self) -> dict[str, float]:
        """Checks, returns mean metrics and throughput, and opens the next window."""
        self.check()
        fetched = jax.device_get([metrics for _, metrics, _ in self._steps])
        seconds = time.perf_counter() - self._opened
        means = {name: float(np.mean([m[name] for m in fetched])) for name in fetched[0]}
        if self._timed_steps:
            means["images_per_second"] = self._timed_steps * self._batch_size / seconds
        self._open()
        return means

    def _wait(self, in_flight: int) -> None:
        for step, metrics, _ in self._steps[: len(self._steps) - in_flight]:
            if step > self.finished:
                jax.block_until_ready(metrics)
                self.finished = step


@dataclasses.dataclass
class Run:
    """What hooks read of a run, and may change."""

    state: TrainState  # after `step` steps; the device may still be computing it
    batches: grain.DatasetIterator
    step: int  # steps done, those of earlier processes included
    last_step: int  # where the run ends; a hook may lower it
    epoch_steps: int
    log: MetricsLog
    window: Window  # the metrics of the steps since the last log line
    # makes the next step; a hook sets it before the first
    train_step: Callable[[TrainState, Mapping[str, Any]], tuple[TrainState, Metrics]] = (
        dataclasses.field(init=False)
    )
    # top-1 on the test images after this very step; None where it was not measured
    accuracy: float | None = None
    logged: bool = False  # whether this step wrote a log line
    # why the process ends after this step, to be resumed by the same command; or ""
    stopped: str = ""
    latest: dict[str, float] = dataclasses.field(default_factory=dict)  # the metrics logged last

    @property
    def ends_epoch(self) -> bool:
        """Whether this step is the last one of an epoch."""
        return self.step > 0 and self.step % self.epoch_steps == 0

    def tell(self, **values: float) -> None:
        """Writes metrics that hold after this step to the log, and shows the main ones."""
        self.log.write(self.step, self.step / self.epoch_steps, **values)
        shown = {name: value for name, value in values.items() if name in _SHOWN}
        self.latest |= shown
        if not sys.stderr.isatty():  # where the progress bar shows them
            told = ", ".join(f"{name} {value:.3g}" for name, value in shown.items())
            logging.info("Step %d of %d: %s", self.step, self.last_step, told)


_SHOWN = ("loss", "accuracy", "images_per_second", "test_accuracy")


class Hook:
    """What is done around the steps of a run; a subclass overrides one method or both."""

    def begin(self, run: Run) -> None:
        """Acts once, before the first step that this process makes."""

    def after_step(self, run: Run) -> None:
        """Acts after each step, in the order of the hooks.

        To keep the device busy, it waits for the device only at steps that log or save.
        """
