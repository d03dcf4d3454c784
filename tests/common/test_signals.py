"""Signals in the first moments of a command, when its libraries are still being imported."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from renyi_jax.common import signals

ROOT = Path(__file__).resolve().parents[2]


def hears(process, number):
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (caught,) = (line for line in status.splitlines() if line.startswith("SigCgt"))
    return int(caught.split()[1], 16) >> (number - 1) & 1


@pytest.fixture
def start():
    """Starts a command, and returns once it hears SIGTERM, long before its libraries are there."""
    started = []

    def starting(*command):
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell has what it starts in the background ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        started.append(process)
        end = time.monotonic() + 60
        while not hears(process, signal.SIGTERM):
            assert time.monotonic() < end
        return process

    yield starting
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", signals.ENDING)
def test_the_main_job_ends_with_the_status_that_was_asked_for(start, tmp_path, number):
    process = start(
        *("renyi_jax.main", "--config=configs/quickstart.py"),
        *(f"--workdir={tmp_path / 'run'}", "--stopped_status=75"),
    )
    process.send_signal(number)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 75, told
    assert f"Stopped by {signals.name(number)}. The same command goes on." in told
    assert "Traceback" not in told and not (tmp_path / "run").exists()


def test_another_command_is_interrupted_in_one_line(start):
    process = start("renyi_jax.convert", "--model=deit_small_patch16_224", "--weights=x", "--out=y")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == signals.INTERRUPTED, told
    assert told.startswith("Interrupted") and len(told.splitlines()) == 1


def test_another_command_is_ended_by_sigterm_as_any_program(start):
    process = start("renyi_jax.convert", "--help")
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGTERM and not told


def test_a_second_interruption_ends_a_command_at_once(start):
    process = start("renyi_jax.convert", "--help")
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    _, told = process.communicate(timeout=120)
    assert process.returncode == signals.INTERRUPTED and time.monotonic() - sent < 2
    assert told == "Interrupted.\n"


def test_processes_that_start_in_the_body_do_not_get_the_signals():
    wait = "import sys, time; print('ready', flush=True); time.sleep(60)"
    with signals.kept_from_children():
        process = subprocess.Popen([sys.executable, "-c", wait], stdout=subprocess.PIPE)
    try:
        assert process.stdout and process.stdout.readline()
        for number in signals.ENDING:
            process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        process.kill()
        process.communicate()
