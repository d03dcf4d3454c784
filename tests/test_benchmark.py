"""The benchmark command, on a model that is small enough."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

from renyi_jax.errors import UserError
from renyi_jax.evaluation.peers import check_peers
from renyi_jax.evaluation.speed import program_name


def benchmark(*flags):
    return subprocess.run(
        [sys.executable, "-m", "renyi_jax.benchmark", *flags],
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_every_setting_is_timed_beside_the_plain_model_and_written_down(tmp_path):
    finished = benchmark(
        "--model=vit_nano_patch4_56",
        "--keep_rates=0.5",
        "--criteria=renyi,random",
        "--batch_size=2",
        "--budget=0",
        f"--out={tmp_path}",
    )
    assert finished.returncode == 0, finished.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    rows = results["rows"]
    assert [program_name(row) for row in rows] == ["unpruned", "renyi 2 at 0.5", "random at 0.5"]
    assert rows[0]["against_unpruned"] == 1
    for row in rows:
        assert f"{row['images_per_second']:.3g}" in finished.stdout
        assert row["share_of_matmul_peak"] > 0
        for field in ("images_per_second", "latency_ms", "gmacs", "temporary_mib"):
            assert np.isfinite(row[field]) and row[field] > 0
    assert rows[1]["gmacs"] < rows[0]["gmacs"]
    assert (tmp_path / "speed.png").stat().st_size > 1000


def test_a_mistake_in_a_flag_is_one_message_and_status_two():
    finished = benchmark("--model=vit_nano_patch4_56", "--dtype=flaot32")
    assert finished.returncode == 2
    assert "float32" in finished.stderr and "Traceback" not in finished.stderr


def test_an_unknown_peer_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match=r"Unknown peer 'tim'.*timm"):
        check_peers(["tim"])


def test_a_peer_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="requirements-parity"):
        check_peers(["timm"])
