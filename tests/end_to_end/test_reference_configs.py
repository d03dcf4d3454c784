"""The six reference configs through the whole job, on tiny archives in the data sets' true formats.

Compiling their models takes a minute each. So the models are made narrow and two blocks deep,
but for the long test, which runs all configs as they are.
"""

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import archives
import pytest
from safetensors.numpy import load_file
from tiny import tiny_model

from renyi_jax.models import MODELS, save_weights

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NARROW = {"embed_dim": 24, "num_heads": 3}
NARROW_CONFIG = f"""
import dataclasses
import importlib
import sys

from renyi_jax.models import MODELS

sys.path.append({str(CONFIGS)!r})
for name in ("deit_small_patch16_224", "deit_base_patch16_224"):
    MODELS[name] = dataclasses.replace(MODELS[name], **{NARROW!r}, depth=DEPTH)


def get_config(name):
    return importlib.import_module(name).get_config()
"""

# Training steps of a batch of 4, test images and classes of what `archives` writes.
EXPECTED = {"aircraft": (2, 7, 100), "flowers102": (2, 6, 102), "imagenet100": (3, 5, 100)}


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    """A folder for each data set, as its user would bring it."""
    folder = tmp_path_factory.mktemp("brought")
    for name in EXPECTED:
        (folder / name).mkdir()
    archives.write_tar(
        folder / "aircraft" / "fgvc-aircraft-2013b.tar.gz", archives.aircraft_files()
    )
    archives.write_flowers(folder / "flowers102", archives.flowers_files())
    archives.prepare_imagenet(folder / "imagenet100")
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


def _shortened(brought, prepared):
    return (
        f"--config.data.data_dir={prepared}",
        f"--config.data.manual_dir={brought}",
        "--config.data.batch_size=4",
        "--config.data.num_workers=0",
        "--config.train.epochs=1",
        "--config.train.warmup_epochs=0",
        "--config.train.log_every_steps=1",
        "--config.train.evaluate_every_epochs=0",
        "--config.model.image_size=48",
        "--config.evaluate.batch_size=4",
        "--config.evaluate.keep_rates=()",
        "--config.evaluate.alphas=(1.0,)",
        "--config.evaluate.criteria=()",
    )


@pytest.fixture(scope="module")
def narrow(tmp_path_factory, request):
    """A file of the configs with narrow models, of so many blocks, and weights to start from."""
    folder, depth = tmp_path_factory.mktemp("narrow"), request.param
    (folder / "narrow.py").write_text(NARROW_CONFIG.replace("DEPTH", str(depth)))
    spec = dataclasses.replace(MODELS["deit_small_patch16_224"], **NARROW, depth=depth)
    save_weights(tiny_model(spec=spec), folder / "weights.safetensors")
    return folder / "narrow.py", folder / "weights.safetensors"


@pytest.fixture
def run_config(run_child, brought, prepared, tmp_path):
    def run(config, data, *arguments):
        done = run_child(
            "main",
            f"--config={config}",
            f"--workdir={tmp_path}",
            *_shortened(brought / data, prepared),
            *arguments,
        )
        assert done.status == 0, done.stderr
        steps, examples, classes = EXPECTED[data]
        log = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        losses = [line["loss"] for line in log if "loss" in line]
        assert len(losses) == steps and all(map(math.isfinite, losses))
        rows = json.loads((tmp_path / "results.json").read_text())["evaluations"]
        settings = [(row["criterion"], row["alpha"], row["keep_rate"]) for row in rows]
        unpruned = ("none", None, 1.0)
        assert settings == [("renyi", 2.0, 0.7), ("renyi", 1.0, 0.7), unpruned]
        assert all(row["num_examples"] == examples and 0 <= row["top1"] <= 1 for row in rows)
        assert load_file(tmp_path / "model.safetensors")["head.weight"].shape[0] == classes
        assert (tmp_path / "report" / "index.html").exists()

    return run


@pytest.mark.parametrize("narrow", [2], indirect=True)
@pytest.mark.parametrize(
    ("size", "data"), [("s", "aircraft"), ("b", "flowers102"), ("s", "imagenet100")]
)
def test_a_reference_config_trains_evaluates_and_reports(run_config, narrow, size, data):
    config, weights = narrow
    run_config(
        f"{config}:deit_{size}_{data}",
        data,
        f"--config.model.weights={weights}",
        "--config.pruning.blocks=(1,2)",
    )


@pytest.mark.long
@pytest.mark.parametrize("data", EXPECTED)
@pytest.mark.parametrize("size", ["s", "b"])
def test_a_reference_config_runs_with_its_whole_model(run_config, tmp_path, size, data):
    run_config(
        CONFIGS / f"deit_{size}_{data}.py",
        data,
        "--config.model.weights=",
    )
    shutil.rmtree(tmp_path / "checkpoints")  # a gigabyte


@pytest.mark.long
@pytest.mark.parametrize("narrow", [12], indirect=True)
@pytest.mark.parametrize("data", EXPECTED)
@pytest.mark.parametrize("claim", ["accuracy", "criteria", "order", "tuning"])
def test_a_claim_is_tested_by_one_command(narrow, brought, prepared, tmp_path, claim, data):
    config, weights = narrow
    script = [
        *("bash", "studies/claims.sh", claim, f"{config}:deit_s_{data}", tmp_path / "out"),
        f"--config.model.weights={weights}",
        *_shortened(brought / data, prepared),
        "--config.data.test_split=test[:4]",
        *([] if claim == "tuning" else ["--seeds=0"]),  # others compile nothing else
    ]
    python = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        script, cwd=CONFIGS.parent, env={**os.environ, "PATH": python}, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    (rows,) = (tmp_path / "out").glob("*_top1.json")
    methods = {row["method"] for row in json.loads(rows.read_text())["rows"]}
    assert "cls_attention" in methods and any("renyi" in method for method in methods)


@pytest.mark.parametrize(
    ("arguments", "known"),
    [(["speed", "configs/deit_s_aircraft.py", "DIR"], "throughput"), (["order"], "CLAIM is")],
)
def test_what_is_no_claim_is_refused_with_what_is(tmp_path, arguments, known):
    script = [*("bash", CONFIGS.parent / "studies" / "claims.sh"), *arguments]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and known in done.stderr
    assert not any(tmp_path.iterdir())
