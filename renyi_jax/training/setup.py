"""What a config asks for: the model, and the batches that it is trained on."""

from typing import Any

import grain
import jax
from absl import logging
from flax import nnx

from renyi_jax.config import check_config, pruning_config
from renyi_jax.data import Dataset
from renyi_jax.data.pipeline import eval_loader, steps_per_epoch, train_loader
from renyi_jax.errors import UserError
from renyi_jax.models import VisionTransformer, create_model
from renyi_jax.models.flops import count_flops, require_forward
from renyi_jax.models.registry import model_spec
from renyi_jax.parallel import BatchPlacement
from renyi_jax.pruning.sweep import describe, keep_words


def build_model(dataset: Dataset, config: Any) -> VisionTransformer:
    """Builds the model of `config.model` and `config.pruning`, with random weights.

    Raises UserError: the model has fewer classes than the data set, or memory is too small.
    """
    num_classes = config.model.num_classes or dataset.num_classes
    if num_classes < dataset.num_classes:
        raise UserError(
            f"config.model.num_classes={num_classes}: expected at least the {dataset.num_classes}"
            f" classes of {dataset.name}, or 0 to take as many."
        )
    batch_size = max(
        config.data.batch_size // config.train.accumulate_steps, config.evaluate.batch_size
    )
    require_forward(
        model_spec(
            config.model.name, num_classes=num_classes, image_size=config.model.image_size or None
        ),
        batch_size // jax.device_count(),
        f"config.model, and a batch_size of {batch_size:,}",
    )
    return model_for(num_classes, config)


def model_for(num_classes: int, config: Any) -> VisionTransformer:
    """`build_model` for a data set of so many classes, which need not be there."""
    return create_model(
        config.model.name,
        num_classes=num_classes,
        pruning=pruning_config(config),
        rngs=nnx.Rngs(config.seed),
        image_size=config.model.image_size or None,
        dtype=config.model.dtype,
        drop_path_rate=config.model.drop_path_rate,
        dropout_rate=config.model.dropout_rate,
        patch_drop_rate=config.model.patch_drop_rate,
        plain_patches_first=config.model.plain_patches_first,
        remat=config.model.remat,
    )


def with_fitting_batch(config: Any, num_examples: int, shards: int = 1) -> Any:
    """Returns the config, with a smaller batch (logged) where the training split does not fill one.

    Where not even one image for each of `shards` devices and part is there, nothing changes.
    """
    smallest = shards * config.train.accumulate_steps
    fitting = num_examples // smallest * smallest
    if not 0 < fitting < config.data.batch_size:
        return config
    logging.warning(
        "The %d training images do not fill a batch of config.data.batch_size=%d: it takes %d.",
        *(num_examples, config.data.batch_size, fitting),
    )
    data = {**config.data.to_dict(), "batch_size": fitting}
    return check_config({**config.to_dict(), "data": data})


def training_batches(
    model: VisionTransformer,
    dataset: Dataset,
    config: Any,
    num_workers: int | None = None,
    part: tuple[int, int] = (0, 1),
) -> grain.DatasetIterator:
    """Returns the batches of `config.data`, sized and filled as the model's images.

    `part` is which part of each batch, and of how many equal ones.
    """
    process_index, process_count = part
    return train_loader(
        dataset,
        config.data,
        batch_size=config.data.batch_size,
        image_size=model.spec.image_size,
        seed=config.seed,
        mean=model.spec.mean,
        std=model.spec.std,
        num_workers=config.data.num_workers if num_workers is None else num_workers,
        process_index=process_index,
        process_count=process_count,
    )


def test_batches(
    model: VisionTransformer,
    dataset: Dataset,
    config: Any,
    place: BatchPlacement,
    num_workers: int = 0,
) -> grain.DatasetIterator:
    """Returns the test images once, in order, cropped as the model or the config has it."""
    return eval_loader(
        dataset,
        batch_size=place.batch_size,
        image_size=model.spec.image_size,
        crop_pct=config.data.crop_pct or model.spec.crop_pct,
        interpolation=model.spec.interpolation,
        num_workers=num_workers,
        process_index=place.index,
        process_count=place.count,
    )


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
