"""SIGTERM ends a command with status 0, whatever its main thread is at."""

import signal
import socket
import subprocess
import sys

import pytest

# Releases the interpreter, as a compilation does, and is interrupted by no signal.
BUSY = """
import hashlib
import jax
from contextlib import nullcontext
{before}
from renyi_jax.training.stopping import StopNotice, leave_on_sigterm
leave_on_sigterm(patience=0.5)
with {context}:
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


@pytest.mark.parametrize("context", ["StopNotice()", "nullcontext()"])
@pytest.mark.parametrize("joined", [False, True], ids=["alone", "with JAX's preemption service"])
def test_sigterm_in_a_call_that_does_not_return_ends_the_process_with_status_0(context, joined):
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
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Stopped by SIGTERM" in told


def test_a_loop_that_stops_is_given_the_time_to_save(tmp_path):
    saved = tmp_path / "saved"
    slow = """
import pathlib, sys, time
from renyi_jax.training.stopping import StopNotice, Stopped, leave_on_sigterm
leave_on_sigterm(patience=0.5)
with StopNotice() as notice:
    print("ready", flush=True)
    while not notice.reached(1):
        time.sleep(0.1)
    time.sleep(2)
    pathlib.Path(sys.argv[1]).touch()
    raise Stopped
"""
    process = subprocess.Popen(
        [sys.executable, "-c", slow, str(saved)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
    assert saved.exists()
