"""The same run on any mesh: losses, weights and evaluation against those of one device."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from renyi_jax.attention.backend import PLAIN_TOKENS

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("train_on_mesh.py")

ALL_AXES = {"data": 2, "fsdp": 2, "tensor": 2}


def start(runs, *arguments) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), json.dumps(runs), *arguments],
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    for process in processes:
        printed, _ = process.communicate(timeout=800)
        assert process.returncode == 0, printed


@pytest.fixture(scope="module")
def on_one_device(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("one")
    finish(start([(str(workdir), {}, PLAIN_TOKENS)]))
    return workdir


@pytest.fixture(scope="module")
def on_eight_devices(tmp_path_factory, on_one_device):
    """The workdir of a whole run, and that of one that went on from one device's checkpoint."""
    root = tmp_path_factory.mktemp("eight")
    whole, resumed = root / "whole", root / "resumed"
    shutil.copytree(on_one_device / "checkpoints", resumed / "checkpoints")
    for step in ("15", "20"):
        shutil.rmtree(resumed / "checkpoints" / step)
    # Where heads are cut too, attention streams, which must change as little.
    runs = [(str(whole), ALL_AXES, 0), (str(resumed), {"data": 2, "fsdp": 4}, PLAIN_TOKENS)]
    finish(start(runs, "--devices=8"))
    return whole, resumed


def check_alike(workdir, expected, first_step=1):
    lines = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (workdir, expected)
    ]
    lines[1] = [line for line in lines[1] if line["step"] >= first_step]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    assert sum("loss" in line for line in lines[0]) == 21 - first_step
    for line, reference in zip(*lines):
        for name in ("loss", "entropy", "test_accuracy"):
            if name in reference:
                np.testing.assert_allclose(line[name], reference[name], rtol=1e-5, atol=1e-5)
    rows = [json.loads((f / "evaluations.json").read_text()) for f in (workdir, expected)]
    for row, reference in zip(*rows, strict=True):
        for name in ("top1", "top5", "num_examples", "kept_on_object"):
            assert row[name] == pytest.approx(reference[name], abs=1e-6)
    with np.load(workdir / "weights.npz") as one, np.load(expected / "weights.npz") as other:
        assert set(one) == set(other)
        for name in one:
            value, reference = one[name], other[name]
            if "qkv" in name:
                # A key bias shifts all logits of a row alike: its gradient is zero but for
                # rounding, which Adam makes a whole step of. Query and value are compared.
                query, _, output = np.split(np.arange(value.shape[-1]), 3)
                value, reference = (w[..., [*query, *output]] for w in (value, reference))
            np.testing.assert_allclose(value, reference, atol=2e-4, err_msg=name)


def test_eight_devices_train_as_one(on_eight_devices, on_one_device):
    check_alike(on_eight_devices[0], on_one_device)


def test_a_run_of_one_device_goes_on_on_eight(on_eight_devices, on_one_device):
    check_alike(on_eight_devices[1], on_one_device, first_step=11)


@pytest.mark.parametrize("mesh", [{}, {"data": 1, "tensor": -1}], ids=["data 4", "tensor 4"])
def test_two_processes_train_as_one(mesh, tmp_path, on_one_device):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    runs = [(str(tmp_path), mesh, PLAIN_TOKENS)]
    finish(
        *(
            start(runs, "--devices=2", f"--process={process}", f"--port={port}")
            for process in range(2)
        )
    )
    check_alike(tmp_path, on_one_device)
    # 40 training examples and 23 test images, each seen once by one process of those that share
    # the work, and by both of those that hold the same images.
    seen = [np.load(tmp_path / f"seen_{process}.npz") for process in range(2)]
    for split, size in (("train", 40), ("test", 23)):
        parts = [part[split] for part in seen]
        if not mesh:
            np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(size))
        else:
            for part in parts:
                np.testing.assert_array_equal(np.sort(part), np.arange(size))
