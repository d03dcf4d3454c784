import json
import signal

import numpy as np
import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.slow

NUM_STEPS = 4 * (60 // 8)


def read_log(workdir):
    logged = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in logged]


def test_a_run_leaves_results_weights_logs_and_a_report(finished):
    workdir, printed = finished
    results = json.loads((workdir / "results.json").read_text())
    assert results["config"]["pruning"]["blocks"] == [1, 2]
    settings = [
        (row["criterion"], row["alpha"], row["keep_rate"]) for row in results["evaluations"]
    ]
    assert settings == [
        ("renyi", 2.0, 0.7),
        ("none", None, 1.0),
        ("renyi", 1.0, 0.5),
        ("renyi", "inf", 0.5),
        ("cls_attention", None, 0.5),
    ]
    for row in results["evaluations"]:
        assert row["num_examples"] == 23
        assert 0 <= row["top1"] <= row["top5"] <= 1
        assert row["gmacs"] > 0 and row["images_per_second"] > 0 and 0 <= row["kept_on_object"] <= 1
    assert [line["step"] for line in read_log(workdir) if "loss" in line] == [
        *range(1, NUM_STEPS + 1)
    ]
    assert (workdir / "model.safetensors").stat().st_size > 0
    report = workdir / "report" / "index.html"
    assert "</html>" in report.read_text()
    assert str(report) in printed and str(workdir / "results.json") in printed


def test_a_killed_run_resumes_to_the_same_weights_and_log(finished, run_main, tmp_path):
    killed = run_main(f"--workdir={tmp_path}", KILL_AT="15")
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "results.json").exists()
    resumed = run_main(f"--workdir={tmp_path}")
    assert resumed.returncode == 0, resumed.stderr
    workdir, _ = finished
    whole, again = (load_file(folder / "model.safetensors") for folder in (workdir, tmp_path))
    assert whole.keys() == again.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)
    assert read_log(tmp_path) == read_log(workdir)


def test_a_finished_run_is_not_done_again(finished, run_main):
    workdir, _ = finished
    files = [path for path in workdir.rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    again = run_main(f"--workdir={workdir}")
    assert again.returncode == 0 and "Nothing to do" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--config.pruning.keep_rat=0.5"], "Did you mean 'keep_rate'?"),
        (["--config.train.epochs=-1"], "config.train.epochs=-1: expected an integer of at least 0"),
        (["--config.model.weights=nowhere.safetensors"], "No weights at 'nowhere.safetensors'"),
        (["--workdir=FILE"], "is no folder to write to"),
    ],
)
def test_a_mistake_ends_with_status_2_and_one_message(run_main, tmp_path, arguments, message):
    file = tmp_path / "file"
    file.touch()
    arguments = [argument.replace("FILE", str(file / "run")) for argument in arguments]
    failed = run_main(f"--workdir={tmp_path / 'run'}", *arguments)
    assert failed.returncode == 2
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "run" / "results.json").exists()


def test_another_config_on_the_same_workdir_is_refused(finished, run_main):
    workdir, _ = finished
    refused = run_main(f"--workdir={workdir}", "--config.train.learning_rate=0.5")
    assert refused.returncode == 2
    assert "config.train.learning_rate=0.5, was 0.001" in refused.stderr


def test_a_file_of_others_in_the_place_of_the_results_is_left_alone(run_main, tmp_path):
    (tmp_path / "results.json").write_text("mine\n")
    refused = run_main(f"--workdir={tmp_path}")
    assert refused.returncode == 2
    assert "is not what this command writes" in refused.stderr
    assert (tmp_path / "results.json").read_text() == "mine\n"
