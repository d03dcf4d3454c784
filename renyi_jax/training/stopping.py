"""The notice that this machine is about to be taken away: SIGTERM."""

import signal
from types import FrameType, TracebackType

import jax
from absl import logging
from jax.experimental import multihost_utils


class Stopped(SystemExit):
    """Ends the process with status 0: what was done is saved, or is soon done again."""

    def __init__(self) -> None:
        super().__init__(0)


def stop_at_once_on_sigterm() -> None:
    """For the parts of a run that leave nothing to save."""
    signal.signal(signal.SIGTERM, _stop)


def _stop(*_: object) -> None:
    logging.warning("Stopped by SIGTERM. The same command goes on.")
    raise Stopped


class StopNotice:
    """Holds SIGTERM back while it is entered, for a loop that stops between two steps.

    Of several processes, those of JAX's preemption service tell each other, and all of them stop
    after the same step.
    """

    def __init__(self) -> None:
        self._given = False

    def __enter__(self) -> "StopNotice":
        if jax.process_count() == 1:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if jax.process_count() == 1:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._given = True

    @property
    def given(self) -> bool:
        """Whether this process alone knows that it must stop."""
        return self._given

    def reached(self, step: int) -> bool:
        """Whether to stop after this step; of several processes, all get the same answer."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._given
