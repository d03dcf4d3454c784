"""The notice to stop: SIGTERM, as this machine is about to be taken away, or Ctrl-C.

Python runs a signal's handler in the main thread and between two of its steps: not while XLA
compiles, and an exception raised there may land in a library's callback that cannot pass it on. So
a command has a thread of its own that hears of the signal at once.
"""

import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, NoReturn

import jax
from absl import logging
from jax.experimental import multihost_utils

from renyi_jax.common import signals

# A machine that is taken away is often gone after 30 seconds; what is left is for the saving.
PATIENCE_SECONDS = 20.0


class Stopped(SystemExit):
    """Ends the process with status 0, or that of `leave_on_signals`: what was done is saved."""

    status = 0

    def __init__(self) -> None:
        super().__init__(self.status)


def leave_on_signals(status: int = 0, patience: float = PATIENCE_SECONDS) -> None:
    """Makes SIGTERM and Ctrl-C end this process with `status`, whatever it is doing.

    A loop inside a `StopNotice` may finish its step and save. If no step ends within `patience`
    seconds, as while compiling, the process ends without saving. A second Ctrl-C ends it at once,
    with the status of an interrupted command.
    """
    Stopped.status = status
    heard, told = socket.socketpair()
    told.setblocking(False)
    for number in signals.ENDING:
        signal.signal(number, _nothing)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    # The thread holds both ends for as long as the process lives.
    threading.Thread(target=_listen, args=(heard, told, patience), daemon=True).start()
    signals.raise_noted()


def tell_preemption_service() -> None:
    """Lets JAX's preemption service hear of the signals too, for the other processes of a run.

    To be called once the processes have joined: the service takes SIGTERM from Python then.
    """
    if jax.distributed.is_initialized():
        taken = _handler_in_c(signal.SIGTERM)
        if taken != _handler_in_c(signal.SIGINT):  # which is Python's
            _Service.handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(taken)
        signal.signal(signal.SIGTERM, _nothing)


class _Service:
    """JAX's preemption service, once it has started."""

    handler: Any = None


def _handler_in_c(number: int) -> int:
    """The address of a signal's handler; Python has no function that tells of those of others."""
    get = ctypes.pythonapi.PyOS_getsig
    get.restype = ctypes.c_void_p
    return get(number)


def _listen(heard: socket.socket, told: socket.socket, patience: float) -> None:
    interruptions, is_stopping = 0, False
    while True:
        for number in filter(signals.ENDING.__contains__, heard.recv(64)):
            if _Service.handler:
                _Service.handler(signal.SIGTERM)
            interruptions += number == signal.SIGINT
            if interruptions > 1:
                reason = "Interrupted; what came after the last checkpoint is lost."
                _leave(reason, signals.INTERRUPTED)
            if not is_stopping:
                is_stopping = True
                threading.Thread(target=_stop, args=(number, patience), daemon=True).start()


def _stop(number: int, patience: float) -> None:
    notice = StopNotice.entered
    if notice is not None:
        logging.warning("Stopping after this step, to save; a second Ctrl-C ends at once.")
    if notice is None or not notice.seen.wait(patience):
        _leave(f"Stopped by {signals.name(number)}.", Stopped.status)


def _leave(reason: str, status: int) -> NoReturn:
    if sys.stderr.isatty():
        print(file=sys.stderr)  # after a progress bar
    logging.warning("%s The same command goes on.", reason)
    for process in multiprocessing.active_children():
        process.kill()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _nothing(number: int, frame: FrameType | None) -> None:
    """The signal must have a handler for Python to tell of it."""


class StopNotice:
    """Holds SIGTERM and Ctrl-C back inside it, for a loop that stops between two steps.

    Of several processes, all stop after the same step (JAX's preemption service).

    Attributes:
        cause: the name of the signal.
        seen: set once the loop knows, which now saves and stops.
    """

    entered: "StopNotice | None" = None

    def __init__(self) -> None:
        self._given = False
        self.cause = signals.name(signal.SIGTERM)
        self.seen = threading.Event()

    def __enter__(self) -> "StopNotice":
        StopNotice.entered = self
        if jax.process_count() == 1:
            self._before = {number: signal.signal(number, self._note) for number in signals.ENDING}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if jax.process_count() == 1:
            for number, handler in self._before.items():
                signal.signal(number, handler)
        StopNotice.entered = None
        if kind is None and self.given:
            logging.warning("Stopped by %s. The same command goes on.", self.cause)
            raise Stopped

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._given, self.cause = True, signals.name(number)

    @property
    def given(self) -> bool:
        """Whether this process alone knows that it must stop."""
        if self._given:
            self.seen.set()
        return self._given

    def reached(self, step: int) -> bool:
        """Whether to stop after this step; of several processes, all get the same answer."""
        if jax.process_count() == 1:
            return self.given
        reached = multihost_utils.reached_preemption_sync_point(step)
        if reached:
            self.seen.set()
        return reached
