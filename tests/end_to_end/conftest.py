"""A run of `renyi_jax.main` that takes seconds: few images, a small model, compilations kept."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from renyi_jax.data import fashion_mnist

ROOT = Path(__file__).resolve().parents[2]
NUM_TEST = 23

CONFIG = '''
import os
import signal

from renyi_jax.config import default_config
from renyi_jax.models import MODELS, ModelSpec
from renyi_jax.training.checkpoints import Checkpoints

MODELS["tiny"] = ModelSpec(
    embed_dim=16, depth=2, num_heads=2, patch_size=8, image_size=(56, 56), num_classes=10
)
save = Checkpoints.save


def save_or_die(self, state, batches, step, accuracy=None):
    """Dies as it is asked to save at step KILL_AT, while it may still write the one before."""
    if step == int(os.environ.get("KILL_AT", 0)):
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, state, batches, step, accuracy)


Checkpoints.save = save_or_die


def get_config():
    config = default_config()
    config.model.name = "tiny"
    config.model.patch_drop_rate = 0.2
    config.pruning.blocks = (1, 2)
    config.data.builder_config = "full"
    config.data.data_dir = {data_dir!r}
    config.data.manual_dir = {manual_dir!r}
    config.data.fresh_clutter = True
    config.data.flip = True
    config.data.batch_size = 8
    config.train.epochs = 4
    config.train.log_every_steps = 1
    config.evaluate.batch_size = 8
    config.evaluate.keep_rates = (1.0, 0.5)
    config.evaluate.alphas = (1.0, float("inf"))
    config.evaluate.criteria = ("renyi", "cls_attention")
    config.checkpoint.every_steps = 3
    return config
'''


@pytest.fixture(scope="session")
def config_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("end_to_end")
    rng = np.random.default_rng(0)
    for split, size in (("train", 60), ("test", NUM_TEST)):
        images = rng.integers(1, 256, (size, 28, 28)).astype(np.uint8)
        labels = rng.integers(0, 10, size).astype(np.uint8)
        for name, array in zip(fashion_mnist.FILES[split], (images, labels), strict=True):
            fashion_mnist.write_idx(folder / name, array)
    file = folder / "tiny.py"
    file.write_text(
        CONFIG.replace("{data_dir!r}", repr(str(folder / "prepared"))).replace(
            "{manual_dir!r}", repr(str(folder))
        )
    )
    return file


@pytest.fixture(scope="session")
def start_command(config_file):
    """Starts a command as a user does."""

    def start(name, *arguments, config=config_file, **environment) -> subprocess.Popen:
        configured = [] if config is None else [f"--config={config}"]
        command = [sys.executable, "-m", f"renyi_jax.{name}", *configured, *arguments]
        kept = {
            "JAX_COMPILATION_CACHE_DIR": str(config_file.parent / "compilations"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | kept | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a process group of its own, as on a terminal
        )

    return start


@pytest.fixture(scope="session")
def start_main(start_command):
    """Starts the main job."""
    return functools.partial(start_command, "main")


@pytest.fixture(scope="session")
def run_command(start_command):
    """Runs a command to its end."""

    def run(name, *arguments, **options) -> subprocess.CompletedProcess:
        process = start_command(name, *arguments, **options)
        printed, told = process.communicate(timeout=900)
        return subprocess.CompletedProcess(process.args, process.returncode, printed, told)

    return run


@pytest.fixture(scope="session")
def run_main(run_command):
    """Runs the main job to its end."""
    return functools.partial(run_command, "main")


@pytest.fixture(scope="session")
def finished(run_main, tmp_path_factory):
    """The workdir of a whole run, and what it printed."""
    workdir = tmp_path_factory.mktemp("finished")
    done = run_main(f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir, done.stdout
