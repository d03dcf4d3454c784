"""Worker processes that prepare batches: whether there is memory for them, and how they end."""

import multiprocessing
import os
import re
import signal
import sys
import threading
from typing import Any

import grain
from absl import logging

from renyi_jax.common import signals
from renyi_jax.errors import UserError

SHARED_MEMORY = "/dev/shm"  # where workers leave their batches

_BATCHES_EACH, _BATCHES_TAKEN = 3, 2
"""Batches that lie there at once: of each worker, and those that this process has taken."""

_ENDS: dict[int, str] = {
    signal.SIGBUS: f"{SHARED_MEMORY} was full: give it more room (docker run --shm-size=8g)",
    signal.SIGKILL: "the machine probably ran out of memory",
}


def affordable_workers(num_workers: int, batch_bytes: int) -> int:
    """Returns `num_workers`, or 0 where shared memory has no room for the batches of so many."""
    try:
        disk = os.statvfs(SHARED_MEMORY)
    except OSError:  # a system that keeps it elsewhere
        return num_workers
    free = disk.f_bavail * disk.f_frsize
    needed = (_BATCHES_EACH * num_workers + _BATCHES_TAKEN) * batch_bytes
    if not num_workers or needed <= free:
        return num_workers
    logging.warning(
        "%d worker processes (config.data.num_workers) need %.0f MB in %s, and %.0f MB are free:"
        " threads prepare the batches instead. docker run --shm-size=8g gives more.",
        *(num_workers, needed / 1e6, SHARED_MEMORY, free / 1e6),
    )
    return 0


class Derived(grain.MapDataset):
    """A data set of as many elements as its parent, of which a subclass says what each is."""

    def __len__(self) -> int:
        return len(self._parent)

    def __getitem__(self, index: Any) -> Any:
        return self.slice(index) if isinstance(index, slice) else self.element(index)

    def element(self, index: int) -> Any:
        """Returns the element at a position; by default the parent's."""
        return self._parent[index]


class Passed(grain.DatasetIterator):
    """The batches of its parent, whose position is its own."""

    def get_state(self) -> dict[str, Any]:
        return self._parent.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        self._parent.set_state(state)

    def close(self) -> None:
        super().close()
        self._parent.close()


class EndingWithParent(Derived):
    """The elements of `parent`; a worker process that gets it ends with the process that sent it.

    Otherwise one that is killed would leave its workers behind, and their batches in shared memory.
    """

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        if parent := multiprocessing.parent_process():
            threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


class WorkerBatches(Passed):
    """The batches of worker processes, which the signals to this one do not reach.

    Raises UserError, on iteration, once a worker was ended by a signal.
    """

    def __init__(self, batches: grain.DatasetIterator):
        super().__init__(batches)
        self._have_started = False

    def __next__(self) -> Any:
        try:
            if self._have_started:
                return next(self._parent)
            # Where a worker is killed, Python would warn of what it cleans up after it.
            sys.warnoptions.append("ignore:resource_tracker:UserWarning")
            with signals.kept_from_children():
                batch = next(self._parent)
            self._have_started = True
            return batch
        except RuntimeError as error:
            # How Grain tells of a worker that ended.
            if code := re.search(r"exit code -(\d+)", str(error)):
                raise UserError(_explain(int(code[1]))) from error
            raise

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._have_started = False


def _explain(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    reason = f": {_ENDS[number]}" if number in _ENDS else ""
    return (
        f"A worker process that prepares batches was ended by {name}{reason}."
        " config.data.num_workers=0 does without them."
    )
