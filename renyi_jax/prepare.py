"""Prepares a data set, and shows what training gets of it.

    python -m renyi_jax.data --config=configs/deit_s_aircraft.py --check --out=DIR

Without --check it builds what is not built yet, and tells the sizes of the splits. With it, it also
counts the classes, and writes into --out a contact sheet of augmented training images
(batches.png), and results.json: the images per second of each worker, and the share of a training
step that waits for its batch.
"""

import itertools
from typing import Any

import jax
from absl import flags

from renyi_jax.cli import commands
from renyi_jax.cli.config import define_config, parse_flags, read_config
from renyi_jax.cli.values import define
from renyi_jax.common.fields import integer
from renyi_jax.common.files import output_folder
from renyi_jax.common.progress import phase
from renyi_jax.common.provenance import write_results
from renyi_jax.data import Dataset
from renyi_jax.data.datasets import load_dataset
from renyi_jax.data.overview import (
    describe_split,
    images_per_second,
    summarize,
    waiting_share,
    write_contact_sheet,
)
from renyi_jax.data.pipeline import steps_per_epoch
from renyi_jax.errors import UserError
from renyi_jax.models import VisionTransformer, weights_of
from renyi_jax.training import (
    TrainState,
    build_model,
    learning_rate_schedule,
    make_optimizer,
    make_train_step,
    training_batches,
    with_fitting_batch,
)

_CONFIG = define_config()
_CHECK = flags.DEFINE_bool("check", False, "Count, show and time what the loaders give.")
_OUT = flags.DEFINE_string("out", None, "Folder for what --check writes; made if there is none.")
_BATCHES = define("batches", integer(20, 1, 10_000), "How many --check times.")
_STEPS = define(
    "steps", integer(5, 0, 10_000), "How many training steps --check times; 0 for none."
)


def main() -> None:
    config: Any = read_config(_CONFIG)
    out = output_folder("--out", _OUT.value) if _OUT.value is not None else None
    if _CHECK.value and out is None:
        raise UserError("--check needs --out=DIR, a folder for what it writes.")
    dataset = load_dataset(config.data)
    splits = {config.data.train_split: dataset.train, config.data.test_split: dataset.test}
    if out is None or not _CHECK.value:
        for split, records in splits.items():
            print(f"{dataset.name}, {split}: {len(records)} examples")
        return

    results: dict[str, Any] = {"name": dataset.name}
    with phase("Counting the images of each class"):
        results["splits"] = {
            split: describe_split(records, dataset.num_classes) for split, records in splits.items()
        }
    print(summarize(dataset, results["splits"]))

    model = build_model(dataset, config)
    config = with_fitting_batch(config, len(dataset.train))
    first = itertools.islice(training_batches(model, dataset, config, num_workers=0), 2)
    with phase("Drawing augmented training images"):
        write_contact_sheet(out / "batches.png", list(first))
    print(f"Augmented training images: {out / 'batches.png'}")

    workers = max(1, config.data.num_workers)
    with phase("Timing the loader"):
        batches = training_batches(model, dataset, config, workers)
        speed = images_per_second(batches, _BATCHES.value) / workers
    results["images_per_second_per_worker"] = speed
    print(f"One of {workers} workers: {speed:.1f} images per second")
    if _STEPS.value:
        with phase("Timing training steps"):
            share = _waiting_share(dataset, config, model)
        results["waiting_share"] = share
        print(f"Of a training step on {jax.devices()[0].device_kind}, {share:.1%} is waiting")
    write_results(out / "results.json", results)


def _waiting_share(dataset: Dataset, config: Any, model: VisionTransformer) -> float:
    """Of true training steps, with the config's own workers."""
    epoch_steps = steps_per_epoch(dataset, config.data.batch_size)
    schedule = learning_rate_schedule(config.train, config.data.batch_size, epoch_steps)
    optimizer = make_optimizer(config.train, schedule)
    train_step = make_train_step(model, optimizer, config)
    state = TrainState.create(weights_of(model), optimizer, config.train)

    def step(batch: Any) -> None:
        nonlocal state
        state, metrics = train_step(state, batch)
        jax.block_until_ready(metrics)

    batches = training_batches(model, dataset, config)
    return waiting_share(batches, step, _STEPS.value)


if __name__ == "__main__":
    commands.run(main, parse_flags)
