"""python -m renyi_jax.compile, as a user runs it."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = "--config=configs/quickstart.py"


def run(*arguments):
    command = [sys.executable, "-m", "renyi_jax.compile", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--topology=v5x:2x2",), "unknown chip 'v5x'. Did you mean 'v5p'?"),
        (("--topology=v5e:2x2", "--keep_rates=1,seven"), "each is a number in (0, 1]"),
    ],
)
def test_a_mistake_ends_with_status_2_and_one_message(arguments, expected):
    result = run(QUICKSTART, *arguments)
    assert result.returncode == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu is not installed (the extra tpu)",
)


@needs_compiler
@pytest.mark.long
def test_the_quickstart_is_compiled_for_four_chips_that_are_not_there(tmp_path):
    batches = ("--config.data.batch_size=64", "--config.evaluate.batch_size=64")
    result = run(
        QUICKSTART, *batches, "--topology=v5e:2x2", "--keep_rates=1,0.5", f"--out={tmp_path}"
    )
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "results.json").read_text())["steps"]
    assert [(row["step"], row["keep_rate"]) for row in rows] == [
        ("train", 1.0),
        ("evaluate", 1.0),
        ("train", 0.5),
        ("evaluate", 0.5),
    ]
    for row in rows:
        assert row["fits"]
        assert f"{row['step']}, keep rate {row['keep_rate']:g}, batch 64" in result.stdout
    plain, pruned = rows[0], rows[2]
    assert pruned["flops"] < 0.8 * plain["flops"]
    assert pruned["activation_bytes"] < plain["activation_bytes"]
    # Data parallel: what the chips exchange is the gradients, pruned or not.
    for row in (plain, pruned):
        summed = sum(each["bytes"] for each in row["collectives"] if each["kind"] == "all-reduce")
        assert row["weights_bytes"] / 2 <= summed < 1.2 * row["weights_bytes"]


@needs_compiler
@pytest.mark.long
def test_kernels_are_compiled_for_several_chips():
    batches = ("--config.data.batch_size=8", "--config.evaluate.batch_size=8")
    larger = "--config.model.image_size=112"  # 785 tokens: attention streams
    mesh = ("--config.mesh.data=2", "--config.mesh.tensor=2")
    result = run(QUICKSTART, *batches, larger, *mesh, "--topology=v5e:2x2", "--keep_rates=0.5")
    assert result.returncode == 0, result.stderr
