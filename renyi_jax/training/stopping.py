"""The notice that this machine is about to be taken away: SIGTERM.

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
from collections.abc import Callable
from types import FrameType, TracebackType

import jax
from absl import logging
from jax.experimental import multihost_utils

# A machine that is taken away is often gone after 30 seconds; what is left is for the saving.
PATIENCE_SECONDS = 20.0


class Stopped(SystemExit):
    """Ends the process with status 0, or that of `leave_on_sigterm`: what was done is saved."""

    status = 0

    def __init__(self) -> None:
        super().__init__(self.status)


def leave_on_sigterm(status: int = 0, patience: float = PATIENCE_SECONDS) -> None:
    """From now on SIGTERM ends this process with `status`, whatever it is at.

    While a `StopNotice` is entered it gets the time to stop between two steps and to save. Where no
    step ends within `patience` seconds, as when one compiles for long, the process leaves what came
    after the last checkpoint to the next start.

    To be called after the processes of a run have joined: JAX's preemption service takes the signal
    then, and goes on to hear of it.
    """
    Stopped.status = status
    service = _handler_in_c() if jax.distributed.is_initialized() else None
    heard, told = socket.socketpair()
    told.setblocking(False)
    signal.signal(signal.SIGTERM, _nothing)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    # The thread holds both ends for as long as the process lives.
    threading.Thread(target=_listen, args=(heard, told, patience, service), daemon=True).start()


def _handler_in_c() -> Callable[[int], None] | None:
    """The handler of SIGTERM that a library set, of which Python knows nothing; None if none did.

    Python sets handlers over it, and has no function that tells of it.
    """
    get = ctypes.pythonapi.PyOS_getsig
    get.restype = ctypes.CFUNCTYPE(None, ctypes.c_int)
    return get(signal.SIGTERM) or None


def _listen(
    heard: socket.socket,
    told: socket.socket,
    patience: float,
    service: Callable[[int], None] | None,
) -> None:
    while True:
        if signal.SIGTERM in heard.recv(64):  # and not another signal that Python handles
            if service:
                service(signal.SIGTERM)
            notice = StopNotice.entered
            if notice is None or not notice.seen.wait(patience):
                _leave()


def _leave() -> None:
    logging.warning("Stopped by SIGTERM. The same command goes on.")
    for process in multiprocessing.active_children():
        process.kill()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(Stopped.status)


def _nothing(number: int, frame: FrameType | None) -> None:
    """The signal must have a handler for Python to tell of it."""


class StopNotice:
    """Holds SIGTERM back while it is entered, for a loop that stops between two steps.

    Of several processes, those of JAX's preemption service tell each other, and all of them stop
    after the same step.
    """

    entered: "StopNotice | None" = None

    def __init__(self) -> None:
        self._given = False
        self.seen = threading.Event()  # by the loop, which now saves and stops

    def __enter__(self) -> "StopNotice":
        StopNotice.entered = self
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
        StopNotice.entered = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._given = True

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
