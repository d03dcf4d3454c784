"""SIGTERM and Ctrl-C end a command with status 0, whatever its main thread is at."""

import signal
import socket
import subprocess
import sys

import pytest

from renyi_jax.common import signals
from renyi_jax.training.stopping import StopNotice, Stopped

# Releases the interpreter, as a compilation does, and is interrupted by no signal.
BUSY = """
import hashlib
import jax
from contextlib import nullcontext
from renyi_jax.training.stopping import StopNotice, leave_on_signals, tell_preemption_service
leave_on_signals(patience=0.5)
{before}
tell_preemption_service()
with {context}:
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


@pytest.mark.parametrize(
    ("number", "context", "joined"),
    [  # every pair of values once
        (signal.SIGTERM, "StopNotice()", True),
        (signal.SIGTERM, "nullcontext()", False),
        (signal.SIGINT, "StopNotice()", False),
        (signal.SIGINT, "nullcontext()", True),
    ],
)
def test_a_signal_in_a_call_that_does_not_return_ends_the_process_with_status_0(
    number, context, joined
):
    """Also where JAX's preemption service listens, as in a run of several processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    join = f"jax.distributed.initialize('localhost:{port}', num_processes=1, process_id=0)"
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY.format(context=context, before=join if joined else "")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert f"Stopped by {signals.name(number)}" in told and "Traceback" not in told


SLOW = """
import pathlib, sys, time
from renyi_jax.training.stopping import StopNotice, Stopped, leave_on_signals
leave_on_signals(patience=0.5)
with StopNotice() as notice:
    print("ready", flush=True)
    while not notice.reached(1):
        time.sleep(0.1)
    print("saving", flush=True)
    time.sleep(float(sys.argv[1]))
    pathlib.Path(sys.argv[2]).touch()
    raise Stopped
"""


@pytest.fixture
def saving(tmp_path):
    """A process that was told to stop, and is saving a file for so many seconds."""
    started = []

    def start(number, seconds):
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW, str(seconds), str(tmp_path / "saved")],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "saving\n"
        return process

    yield start
    started[0].kill()


@pytest.mark.parametrize("number", signals.ENDING)
def test_a_loop_that_stops_is_given_the_time_to_save(saving, tmp_path, number):
    process = saving(number, seconds=2)
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "saved").exists()


def test_a_second_ctrl_c_ends_at_once(saving, tmp_path):
    process = saving(signal.SIGINT, seconds=100)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == signals.INTERRUPTED
    assert not (tmp_path / "saved").exists()


def test_a_notice_after_the_last_step_ends_the_process_once_all_is_saved():
    with pytest.raises(Stopped), StopNotice():
        signal.raise_signal(signal.SIGTERM)
