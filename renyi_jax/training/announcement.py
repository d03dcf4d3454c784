"""What a run is about to do, in a few lines."""

from typing import Any

import jax

from renyi_jax.data import Dataset
from renyi_jax.data.pipeline import steps_per_epoch
from renyi_jax.models import VisionTransformer
from renyi_jax.models.flops import count_flops
from renyi_jax.pruning.sweep import describe, keep_words


def announcement(model: VisionTransformer, dataset: Dataset, config: Any) -> str:
    """Returns in words what is trained on what, for how long, and how it is pruned."""
    height, width = model.spec.image_size
    start = f"from {config.model.weights}" if config.model.weights else "from random weights"
    devices = jax.devices()
    return "\n".join(
        (
            f"{config.model.name} {start}, on {len(devices)} x {devices[0].device_kind}",
            f"  data:     {dataset.name}, {len(dataset.train):,} training and"
            f" {len(dataset.test):,} test images of {dataset.num_classes} classes,"
            f" {height} x {width} pixels",
            f"  pruning:  {_pruning(model)}",
            f"  training: {_training(dataset, config)}",
        )
    )


def _pruning(model: VisionTransformer) -> str:
    if model.pruning is None:
        return "none"
    row = describe(model.pruning)
    criterion = "" if row["criterion"] is None else f"{row['criterion']}, "
    alpha = "" if row["alpha"] is None else f"alpha {row['alpha']}, "
    keeps = keep_words(row) if row["r"] is not None else f"keep rate {keep_words(row)}"
    ours, plain = (count_flops(model.spec, pruning) / 1e9 for pruning in (model.pruning, None))
    blocks = ", ".join(map(str, model.pruning.blocks))
    return (
        f"{row['reducer']}, {criterion}{alpha}{keeps}, in blocks {blocks};"
        f" {ours:.3g} of {plain:.3g} G multiply-adds"
    )


def _training(dataset: Dataset, config: Any) -> str:
    epochs = config.train.epochs
    if not epochs:
        return "none"
    batch_size = max(1, min(config.data.batch_size, len(dataset.train)))
    steps = epochs * steps_per_epoch(dataset, batch_size)
    at_most = "at most " if config.train.patience else ""
    return (
        f"{at_most}{steps:,} steps of {batch_size} images ({epochs} epoch{'s' * (epochs > 1)});"
        " the first steps tell how long they take"
    )
