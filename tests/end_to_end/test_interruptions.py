"""Runs of the command that are stopped from outside, at whatever moment."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

OFTEN = ("--config.checkpoint.every_steps=1", "--config.checkpoint.keep=3")


def assert_same_weights(workdir, expected):
    whole, again = (load_file(folder / "model.safetensors") for folder in (expected, workdir))
    assert whole.keys() == again.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)
    files = [folder / "model.safetensors" for folder in (expected, workdir)]
    assert files[0].read_bytes() == files[1].read_bytes()


def losses_logged(workdir):
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line["step"], line["loss"]) for line in map(json.loads, lines) if "loss" in line]


def steps_logged(workdir):
    return [step for step, _ in losses_logged(workdir)]


def wait_for(condition, process, seconds=300):
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end and not condition():
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("number, name", [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_signal_to_all_its_processes_ends_a_run_with_status_0_and_the_same_command_goes_on(
    finished, start_main, tmp_path, number, name
):
    process = start_main(f"--workdir={tmp_path}", "--config.data.num_workers=1")
    wait_for(lambda: len(steps_logged(tmp_path)) >= 4, process)
    os.killpg(process.pid, number)
    sent = time.monotonic()
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert time.monotonic() - sent < 30
    assert f"Stopped by {name} after step" in told and "Traceback" not in told
    assert not (tmp_path / "results.json").exists()
    _, told = (again := start_main(f"--workdir={tmp_path}")).communicate(timeout=600)
    assert again.returncode == 0, told
    assert_same_weights(tmp_path, finished[0])


@pytest.mark.slow
def test_a_second_run_on_the_same_workdir_is_refused_and_the_first_goes_on(
    finished, start_main, run_main, tmp_path
):
    first = start_main(f"--workdir={tmp_path}")
    wait_for((tmp_path / "metrics.jsonl").exists, first)
    second = run_main(f"--workdir={tmp_path}")
    assert second.returncode == 2 and "another run is at work there" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    _, told = first.communicate(timeout=600)
    assert first.returncode == 0, told
    assert_same_weights(tmp_path, finished[0])


@pytest.mark.slow
def test_of_two_processes_one_is_told_and_both_stop_after_the_same_step(
    finished, start_main, tmp_path
):
    def start_both():
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        joined = ("--num_processes=2", f"--coordinator_address={address}")
        return [
            start_main(f"--workdir={tmp_path}", *joined, f"--process_id={number}")
            for number in range(2)
        ]

    both = start_both()
    wait_for(lambda: len(steps_logged(tmp_path)) >= 4, both[0])
    both[1].send_signal(signal.SIGTERM)
    sent = time.monotonic()
    told = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert time.monotonic() - sent < 30
    steps = [re.search(r"Stopped by SIGTERM after step (\d+)", each) for each in told]
    assert steps[0] and steps[1] and steps[0][1] == steps[1][1]
    assert (tmp_path / "checkpoints" / steps[0][1]).exists()
    again = start_both()
    told = [process.communicate(timeout=600)[1] for process in again]
    assert [process.returncode for process in again] == [0, 0], told
    assert steps_logged(tmp_path) == steps_logged(finished[0])
    losses, expected = (dict(losses_logged(workdir)) for workdir in (tmp_path, finished[0]))
    assert losses == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_sigterm_after_the_training_ends_with_the_status_that_was_asked_for(
    finished, start_main, tmp_path
):
    workdir, _ = finished
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "results.json").unlink()
    (tmp_path / "model.safetensors").unlink()
    process = start_main(f"--workdir={tmp_path}", "--stopped_status=75")
    wait_for((tmp_path / "model.safetensors").exists, process)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 75, told
    assert "Stopped by SIGTERM" in told and not (tmp_path / "results.json").exists()


@pytest.mark.long
def test_thirty_kills_at_random_moments_change_nothing(finished, start_main, tmp_path):
    workdir, _ = finished
    rng = random.Random(0)
    kills, runs, seconds = 0, 0, None
    while kills < 30 or runs < 2:
        run = tmp_path / str(runs)
        process = start_main(f"--workdir={run}", *OFTEN)
        began = time.monotonic()
        # From the import of the libraries to the last evaluation, as long as a whole run takes; it
        # saves at every step.
        patience = rng.uniform(0, seconds) if seconds and kills < 30 else None
        try:
            _, told = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0, told
        assert "damaged" not in told
        assert_same_weights(run, workdir)
        assert steps_logged(run) == steps_logged(workdir)
        runs, seconds = runs + 1, seconds or time.monotonic() - began
    print(f"{kills} kills in {runs} runs; one that is not killed takes {seconds:.0f} s")
