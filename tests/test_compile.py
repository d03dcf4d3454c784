"""python -m renyi_jax.compile, as a user runs it."""

import importlib.util
import json

import pytest

QUICKSTART = "--config=configs/quickstart.py"


needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu is not installed (the extra tpu)",
)


@needs_compiler
@pytest.mark.long
def test_the_quickstart_is_compiled_for_four_chips_that_are_not_there(run_child, tmp_path):
    batches = ("--config.data.batch_size=64", "--config.evaluate.batch_size=64")
    result = run_child(
        *("compile", QUICKSTART, *batches),
        "--topology=v5e:2x2",
        "--keep_rates=1,0.5",
        f"--out={tmp_path}",
    )
    assert result.status == 0, result.stderr
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
def test_kernels_are_compiled_for_several_chips(run_child):
    batches = ("--config.data.batch_size=8", "--config.evaluate.batch_size=8")
    larger = "--config.model.image_size=112"  # 785 tokens: attention streams
    mesh = ("--config.mesh.data=2", "--config.mesh.tensor=2")
    arguments = (QUICKSTART, *batches, larger, *mesh, "--topology=v5e:2x2", "--keep_rates=0.5")
    result = run_child("compile", *arguments)
    assert result.status == 0, result.stderr
