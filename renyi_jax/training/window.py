"""The steps between two lines of the log."""

import time
from typing import Any

import jax
import numpy as np

from renyi_jax.errors import UserError
from renyi_jax.training.step import Metrics


class NonFiniteError(UserError):
    """A loss or gradient that is no finite number."""


class Window:
    """The metrics of the steps since the last line, on the device, and the time that they took.

    A step that compiles is waited for, and not timed.
    """

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._compiles = True
        self.open()

    def open(self) -> None:
        """Forgets the steps so far."""
        self._steps: list[tuple[int, Metrics, Any]] = []
        self._checked = 0
        self._timed_steps = 0
        self._opened = time.perf_counter()

    def expect_compilation(self) -> None:
        """Leaves the next step, and those of this window before it, out of the timing."""
        self._compiles = True

    def add(self, step: int, metrics: Metrics, ids: np.ndarray) -> None:
        """Takes a step in.

        Args:
            step: its number, from 1.
            metrics: scalars, which need not be computed yet.
            ids: [b], of its examples, as they are numbered in the training split.
        """
        self._steps.append((step, metrics, ids))
        if self._compiles:
            jax.block_until_ready(metrics)
            self._compiles, self._timed_steps = False, 0
            self._opened = time.perf_counter()
        else:
            self._timed_steps += 1

    def check(self) -> None:
        """Waits for the steps so far.

        Raises:
            NonFiniteError: a metric of one of them is not finite; it names the first.
        """
        for step, metrics, ids in self._steps[self._checked :]:
            wrong = {k: v for k, v in jax.device_get(metrics).items() if not np.isfinite(v)}
            if wrong:
                values = ", ".join(f"{name} is {value}" for name, value in wrong.items())
                raise NonFiniteError(
                    f"Training stops at step {step}: {values}. Its batch are the examples"
                    f" {' '.join(map(str, ids))} of the training split."
                )
        self._checked = len(self._steps)

    def close(self) -> dict[str, float]:
        """The means of the metrics, and the throughput; opens the next window.

        Raises:
            NonFiniteError: as `check`.
        """
        self.check()
        fetched = jax.device_get([metrics for _, metrics, _ in self._steps])
        seconds = time.perf_counter() - self._opened
        means = {name: float(np.mean([m[name] for m in fetched])) for name in fetched[0]}
        if self._timed_steps:
            means["images_per_second"] = self._timed_steps * self._batch_size / seconds
        self.open()
        return means
