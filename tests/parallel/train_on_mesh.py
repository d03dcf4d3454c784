"""Trains a tiny model for 20 steps on a mesh and evaluates it; run by test_mesh.py, in processes of
their own, since the number of devices is decided before JAX starts.

  python tests/parallel/train_on_mesh.py '[[WORKDIR, {"data": 8}, 640], ...]' --devices=8
"""

import argparse
import dataclasses
import itertools
import json
import os
import sys
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
from etils import epath
from flax import nnx
from tiny import tiny_dataset, tiny_model, tiny_spec

from renyi_jax.attention import backend
from renyi_jax.common.store import Store
from renyi_jax.config import check_config, default_config
from renyi_jax.data.pipeline import eval_loader
from renyi_jax.evaluation.run import run_evaluations
from renyi_jax.parallel import BatchPlacement, join_processes, make_mesh
from renyi_jax.pruning import PruningConfig
from renyi_jax.training import train, training_batches

PRUNING = PruningConfig(criterion=("renyi", "cls_attention"), blocks=(1, 2), keep_rate=0.7)


def run(workdir: str, mesh: dict[str, int], plain_tokens: int) -> None:
    """Leaves metrics.jsonl, weights.npz and evaluations.json."""
    backend.PLAIN_TOKENS = plain_tokens
    config = default_config()
    config.data.update({"batch_size": 8, "flip": True, "mixup": 0.8, "cutmix": 1.0})
    config.train.update({"epochs": 4, "log_every_steps": 1, "warmup_epochs": 0.5})
    config.train.update({"ema_decay": 0.9, "entropy_weight": 0.1, "entropy_blocks": (2,)})
    config.evaluate.batch_size = 8
    config.evaluate.keep_rates, config.evaluate.criteria = (), ()
    config.checkpoint.every_steps = 5
    config.checkpoint.keep = 9
    config.mesh.update(mesh)
    config = check_config(config)
    dataset = dataclasses.replace(tiny_dataset(), train=tiny_dataset(40, masks=False).test)
    model = tiny_model(PRUNING, tiny_spec(depth=2, num_heads=4))
    model.patch_drop_rate = 0.25
    for block in model.blocks:
        block.drop_path.rate = block.mlp.dropout.rate = 0.2
    folder = epath.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    train(model, dataset, config, folder)
    evaluations = run_evaluations(model, dataset, config, Store(folder / "cells"))
    if jax.process_index() == 0:
        leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(model)))
        np.savez(folder / "weights.npz", **{jax.tree_util.keystr(k): v for k, v in leaves})
        (folder / "evaluations.json").write_text(json.dumps(evaluations))
    np.savez(folder / f"seen_{jax.process_index()}.npz", **seen(model, dataset, config))


def seen(model, dataset, config) -> dict[str, np.ndarray]:
    """The examples of an epoch, and of the test split, that this process reads."""
    place = BatchPlacement(make_mesh(config.mesh.to_dict()), config.data.batch_size)
    part = (place.index, place.count)
    train_batches = itertools.islice(training_batches(model, dataset, config, part=part), 5)
    test_batches = eval_loader(
        dataset, batch_size=8, image_size=16, process_index=part[0], process_count=part[1]
    )
    return {
        "train": np.concatenate([batch["index"] for batch in train_batches]),
        "test": np.concatenate([batch["index"][batch["valid"]] for batch in test_batches]),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "runs",
        help="JSON: a list of [workdir, sizes of the mesh, tokens beyond which attention streams]",
    )
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--process", type=int)
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", options.devices)
    if options.process is not None:
        join_processes(False, f"localhost:{options.port}", 2, options.process)
    for workdir, mesh, plain_tokens in json.loads(options.runs):
        run(workdir, mesh, plain_tokens)
