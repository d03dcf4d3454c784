"""A run between two of its steps, and the hooks that act there."""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any

import grain
from absl import logging

from renyi_jax.training.metrics_log import MetricsLog
from renyi_jax.training.state import TrainState
from renyi_jax.training.step import Metrics
from renyi_jax.training.window import Window


@dataclasses.dataclass
class Run:
    """What hooks read of a run, and may change.

    Attributes:
        state: after `step` steps; the device may still be computing it.
        step: steps done, those of earlier processes included.
        last_step: where the run ends; a hook may lower it.
        window: the metrics of the steps since the last log line.
        train_step: makes the next step; a hook sets it before the first.
        accuracy: top-1 on the test images after this very step; None where it was not measured.
        logged: whether this step wrote a log line.
        stopped: why the process ends after this step, to be resumed by the same command; or "".
        latest: the metrics logged last.
    """

    state: TrainState
    batches: grain.DatasetIterator
    step: int
    last_step: int
    epoch_steps: int
    log: MetricsLog
    window: Window
    train_step: Callable[[TrainState, Mapping[str, Any]], tuple[TrainState, Metrics]] = (
        dataclasses.field(init=False)
    )
    accuracy: float | None = None
    logged: bool = False
    stopped: str = ""
    latest: dict[str, float] = dataclasses.field(default_factory=dict)

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
