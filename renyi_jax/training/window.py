"""The steps between two lines of the log."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from renyi_jax.errors import UserError
from renyi_jax.training.step import Metrics

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
        """Adds a step, its scalars, and the indices of its examples; waits if the device is
        late.
        """
        self._steps.append((step, metrics, ids))
        self._timed_steps += 1
        self._wait(IN_FLIGHT)

    def check(self) -> None:
        """Waits for the steps so far; raises NonFiniteError for the first with a metric that is not
        finite.
        """
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
