"""What `visualize` is given to read: a results.json, rates and orders."""

import json
import os

import pytest

ROW = {"criterion": "renyi", "reducer": "drop", "alpha": 2.0, "keep_rate": 0.7, "top1": 0.8}
ROW |= {"gmacs": 0.2, "images_per_second": 10.0}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"top1": None}, ("row 1", "'top1'", "a number in [0, 1]", "null")),
        ({"keep_rate": {"a": 1}}, ("row 1", "'keep_rate'")),
        ({"criterion": "\ud800"}, ("row 1", "'criterion'")),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(refuses, tmp_path, change, words):
    (tmp_path / "results.json").write_text(json.dumps({"evaluations": [ROW | change]}))
    refuses("visualize", "--results=results.json", "--out=out", words=("results.json", *words))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", [b"[" * 10**6, b"\x00" * 64])
def test_what_is_no_results_json_is_refused(refuses, tmp_path, text):
    (tmp_path / "results.json").write_bytes(text)
    refuses("visualize", "--results=results.json", "--out=out", words="results.json")


def test_a_pipe_a_device_a_folder_and_nothing_are_refused(refuses, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "/dev/zero", ""):
        refuses("visualize", f"--results={name}", "--out=out")


@pytest.mark.parametrize("rates", ["1", "x"])
def test_keep_rates_out_of_range_are_refused_before_any_work(refuses, rates):
    refuses(
        *("visualize", f"--keep_rates={rates}", "--image=a.png", "--out=out"), words="--keep_rates"
    )
