"""Worker processes that prepare batches."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import tiny_dataset

from renyi_jax.data import workers
from renyi_jax.data.pipeline import eval_loader
from renyi_jax.errors import UserError


def batches(**options):
    return eval_loader(tiny_dataset(), batch_size=4, image_size=16, **options)


def with_shared_memory(monkeypatch, free):
    statvfs = SimpleNamespace(f_bavail=free, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda path: statvfs)


def test_where_shared_memory_is_small_threads_prepare_the_same_batches(monkeypatch, caplog):
    needed = 8 * 4 * 16 * 16 * 3
    with_shared_memory(monkeypatch, needed - 1)
    given = list(batches(num_workers=2))
    assert not multiprocessing.active_children()
    assert "2 worker processes" in caplog.text and "--shm-size" in caplog.text
    for batch, expected in zip(given, batches(), strict=True):
        np.testing.assert_array_equal(batch["image"], expected["image"])
    with_shared_memory(monkeypatch, needed)
    assert workers.affordable_workers(2, 4 * 16 * 16 * 3) == 2


def test_without_shared_memory_to_ask_workers_are_what_was_asked_for(monkeypatch):
    monkeypatch.setattr(workers, "SHARED_MEMORY", "/nowhere/shm")
    assert workers.affordable_workers(7, 1 << 60) == 7


@pytest.fixture
def started():
    """An iterator whose worker has given one batch, and the worker."""
    iterator = batches(num_workers=1)
    next(iterator)
    (worker,) = multiprocessing.active_children()
    yield iterator, worker
    iterator.close()


@pytest.mark.parametrize(
    "number, reason",
    [(signal.SIGBUS, "SIGBUS: /dev/shm was full"), (signal.SIGKILL, "SIGKILL: the machine")],
)
def test_a_worker_that_a_signal_ends_is_told_in_words(started, number, reason):
    iterator, worker = started
    os.kill(worker.pid, number)
    with pytest.raises(UserError, match=rf"ended by {reason}.*config\.data\.num_workers=0"):
        for _ in range(9):
            next(iterator)


PARENT = """
import multiprocessing, sys
sys.path.insert(0, sys.argv[1])
from tiny import tiny_dataset
from renyi_jax.data.pipeline import eval_loader

if __name__ == "__main__":
    batches = eval_loader(tiny_dataset(), batch_size=4, image_size=16, num_workers=1)
    next(batches)
    print(multiprocessing.active_children()[0].pid, flush=True)
    sys.stdin.read()
"""


def test_workers_end_with_a_process_that_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py", Path(__file__).parents[1]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout
    worker = Path(f"/proc/{int(parent.stdout.readline())}/stat")
    parent.kill()
    parent.communicate()
    end = time.monotonic() + 30
    # A zombie, where nobody waits for orphans, has ended too.
    while worker.exists() and " Z " not in worker.read_text():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_ctrl_c_and_sigterm_do_not_reach_the_workers(started):
    iterator, worker = started
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    worker.join(1)
    assert worker.is_alive() and next(iterator)["image"].shape[0] == 4
