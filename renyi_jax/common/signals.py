"""Signals that ask a command to end: heard from its first moment, and kept from its workers."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 128 + signal.SIGINT  # the status with which a shell says that Ctrl-C ended a command

_noted: list[int] = []
_before: dict[int, object] = {}


def note() -> None:
    """Notes signals from now on, while the libraries of a command are imported, for `act`."""
    for number in ENDING:
        _before[number] = signal.signal(number, _note)


def act() -> None:
    """Lets signals act again as Python has them, and the one that was noted first."""
    for number, handler in _before.items():
        signal.signal(number, handler)  # type: ignore[arg-type]
    raise_noted()


def raise_noted() -> None:
    """Raises the signal that was noted first again, for the handler that it has now."""
    if _noted:
        signal.raise_signal(_noted[0])


def name(number: int) -> str:
    """Returns the name of a signal, as a user knows it."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


@contextlib.contextmanager
def kept_from_children() -> Iterator[None]:
    """Keeps the signals from processes that start in the body: their parent ends them.

    Ctrl-C on a terminal reaches all processes of a command, of which each would print a traceback.
    """
    resource_tracker.ensure_running()  # which would let them through, when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _note(number: int, frame: FrameType | None) -> None:
    if signal.SIGINT in _noted and number == signal.SIGINT:
        print("Interrupted.", file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)
    _noted.append(number)
