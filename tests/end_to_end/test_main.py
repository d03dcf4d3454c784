"""The main job: what a run leaves, whatever stops it on the way."""

import filecmp
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from renyi_jax.pruning import PruningConfig

pytestmark = pytest.mark.slow

NUM_STEPS = 4 * (60 // 8)


def read_log(workdir):
    path = workdir / "metrics.jsonl"
    logged = map(json.loads, path.read_text().splitlines() if path.exists() else [])
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in logged]


def losses_logged(workdir):
    return {line["step"]: line["loss"] for line in read_log(workdir) if "loss" in line}


def assert_same_weights(workdir, expected):
    files = (folder / "model.safetensors" for folder in (workdir, expected))
    assert filecmp.cmp(*files, shallow=False)


def wait_for(condition, process, seconds=300):
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end and not condition():
        time.sleep(0.05)


def wait_for_step(number, workdir, process):
    wait_for(lambda: max(losses_logged(workdir), default=0) >= number, process)


def test_a_run_leaves_results_weights_logs_and_a_report(finished):
    workdir, printed = finished
    results = json.loads((workdir / "results.json").read_text())
    assert results["config"]["pruning"]["blocks"] == [1, 2]
    *rows, planned = results["evaluations"]
    settings = [(row["criterion"], row["alpha"], row["keep_rate"]) for row in rows]
    assert settings == [
        ("renyi", 2.0, 0.7),
        ("none", None, 1.0),
        ("renyi", 1.0, 0.5),
        ("renyi", "inf", 0.5),
        ("cls_attention", None, 0.5),
    ]
    plan = PruningConfig.load(workdir / "plan.json")
    assert planned["blocks"] == list(plan.blocks) and planned["gmacs"] <= rows[0]["gmacs"]
    for row in results["evaluations"]:
        assert row["num_examples"] == 23
        assert 0 <= row["top1"] <= row["top5"] <= 1
        assert row["gmacs"] > 0 and row["images_per_second"] > 0 and 0 <= row["kept_on_object"] <= 1
    assert [*losses_logged(workdir)] == [*range(1, NUM_STEPS + 1)]
    assert (workdir / "model.safetensors").stat().st_size > 0
    report = workdir / "report" / "index.html"
    assert "</html>" in report.read_text()
    assert str(report) in printed and str(workdir / "results.json") in printed


def test_a_finished_run_is_not_done_again(finished, run_main):
    workdir, _ = finished
    files = [path for path in workdir.rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    again = run_main(f"--workdir={workdir}")
    assert again.status == 0 and "Nothing to do" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_that_is_killed_and_told_to_stop_ends_with_the_weights_and_log_of_one_that_is_not(
    finished, run_main, start_main, tmp_path
):
    killed = run_main(f"--workdir={tmp_path}", env={"KILL_AT": "15"})
    assert killed.status == -signal.SIGKILL
    for number, name in ((signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")):
        process = start_main(f"--workdir={tmp_path}", "--config.data.num_workers=1")
        wait_for_step(16 if number == signal.SIGTERM else 20, tmp_path, process)
        os.killpg(process.pid, number)
        sent = time.monotonic()
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
        assert time.monotonic() - sent < 30
        assert f"Stopped by {name}" in told and "Traceback" not in told
        assert not (tmp_path / "results.json").exists()
    resumed = run_main(f"--workdir={tmp_path}")
    assert resumed.status == 0, resumed.stderr
    assert_same_weights(tmp_path, finished[0])
    assert read_log(tmp_path) == read_log(finished[0])


def test_a_second_run_on_the_same_workdir_is_refused_and_the_first_goes_on(
    start_main, run_main, tmp_path
):
    first = start_main(f"--workdir={tmp_path}", "--config.train.epochs=100")
    wait_for_step(1, tmp_path, first)
    second = run_main(f"--workdir={tmp_path}", "--config.train.epochs=100")
    assert second.status == 2 and "another run is at work there" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    wait_for_step(max(losses_logged(tmp_path)) + 3, tmp_path, first)
    first.send_signal(signal.SIGTERM)
    _, told = first.communicate(timeout=120)
    assert first.returncode == 0 and "Stopped by SIGTERM after step" in told


def test_of_two_processes_one_is_told_and_both_stop_after_the_same_step(
    finished, start_main, tmp_path
):
    def start_both():
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        joined = ("--num_processes=2", f"--coordinator_address={address}")
        little = ("keep_rates=()", "alphas=(2.0,)", "criteria=()")
        joined += tuple(f"--config.evaluate.{field}" for field in little)
        return [
            start_main(f"--workdir={tmp_path}", *joined, f"--process_id={number}")
            for number in range(2)
        ]

    both = start_both()
    wait_for_step(4, tmp_path, both[0])
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
    assert losses_logged(tmp_path) == pytest.approx(losses_logged(finished[0]), rel=1e-4)


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
        often = ("--config.checkpoint.every_steps=1", "--config.checkpoint.keep=3")
        process = start_main(f"--workdir={run}", *often)
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
        assert losses_logged(run) == losses_logged(workdir)
        runs, seconds = runs + 1, seconds or time.monotonic() - began
    print(f"{kills} kills in {runs} runs; one that is not killed takes {seconds:.0f} s")
