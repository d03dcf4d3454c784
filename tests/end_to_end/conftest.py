"""A run of `renyi_jax.main` that takes seconds: few images, a small model."""

import functools
import subprocess
import sys

import numpy as np
import pytest
from children import ROOT

from renyi_jax.data import fashion_mnist
from renyi_jax.pruning import PruningConfig

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
    config.pruning.plan = {plan!r}
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
    config.evaluate.plan_candidates = 2
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
    PruningConfig(blocks=(1, 2)).save(folder / "plan.json")
    places = {"data_dir": folder / "prepared", "manual_dir": folder, "plan": folder / "plan.json"}
    text = CONFIG
    for name, path in places.items():
        text = text.replace(f"{{{name}!r}}", repr(str(path)))
    file = folder / "tiny.py"
    file.write_text(text)
    return file


@pytest.fixture(scope="session")
def run_main(run_child, config_file):
    """Runs the main job of the config to its end."""
    return functools.partial(run_child, "main", f"--config={config_file}")


@pytest.fixture(scope="session")
def start_main(config_file):
    """Starts the main job as a user does."""

    def start(*arguments) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "renyi_jax.main", f"--config={config_file}", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a process group of its own, as on a terminal
        )

    return start


@pytest.fixture(scope="session")
def finished(run_main, tmp_path_factory):
    """The workdir of a whole run, and what it printed."""
    workdir = tmp_path_factory.mktemp("finished")
    done = run_main(f"--workdir={workdir}")
    assert done.status == 0, done.stderr
    return workdir, done.stdout
