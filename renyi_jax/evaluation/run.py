"""The evaluation of a model under its own pruning and a sweep of others: the rows of results.json.

Each batch of the test split is decoded and sent to the device once, then counted under every
setting; the counts stay on the device until the end.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tqdm import tqdm

from renyi_jax.data import Dataset, eval_loader
from renyi_jax.errors import UserError
from renyi_jax.evaluation.metrics import Counts, count_batch
from renyi_jax.evaluation.settings import describe, evaluation_settings, program_of
from renyi_jax.evaluation.throughput import seconds_per_call
from renyi_jax.models import VisionTransformer, flops, normalize_images, patches_on_object
from renyi_jax.pruning import PruningConfig

Batch = dict[str, Any]
Program = Callable[..., Counts]

# An ml_collections.ConfigDict: its attributes have no types that could be checked.
Config = Any


def run_evaluations(
    model: VisionTransformer, dataset: Dataset, config: Config, progress: bool = True
) -> list[dict[str, Any]]:
    """Evaluates the model under every setting of `evaluation_settings`, on every test image once.

    Args:
        model: the trained model; its pruning is the first row.
        dataset: its test split is read once, whatever the number of settings.
        config: the fields read are `seed`, `data.num_workers`, `data.crop_pct` (0 is the model's
            own), and of `evaluate`: `batch_size`, `keep_rates`, `alphas`, `criteria`, `reducers`.
        progress: whether to show a progress bar.

    Returns:
        One dict per setting, which JSON can hold:

        - `criterion`, `reducer`, `alpha`, `keep_rate`: the setting. The plain model is the row of
          keep rate 1, with criterion "none" and None for the others; alpha is None where the
          criterion has no order, and "inf" for infinity.
        - `top1`, `top5`: shares in [0, 1] of the `num_examples` test images.
        - `gmacs`: 10^9 multiply-adds of one image, by `flops`.
        - `images_per_second`: of the compiled evaluation step (normalisation, model, counting) on
          one batch that lies on the device already, median over repetitions in which the settings
          take turns. Rows that differ in alpha alone run the same program, and share its timing.
        - `kept_on_object`, where the data set has masks: of the patches left after the last pruned
          block, over all images, the share that lies on the labelled object (any pixel does). The
          plain model's is the share of all patches.

    Raises:
        UserError: a setting that cannot be run, or an empty test split.
    """
    settings = evaluation_settings(model.pruning, config.evaluate)
    models = {program_of(setting): model.with_pruning(setting) for setting in settings}
    params = nnx.split(model)[1]
    programs = {name: _compiled(pruned) for name, pruned in models.items()}
    key = jax.random.key(config.seed)
    alphas = [_alphas(setting) for setting in settings]
    counts = [Counts.zero() for _ in settings]

    batch_size = config.evaluate.batch_size
    loader = eval_loader(
        dataset,
        batch_size=batch_size,
        image_size=model.spec.image_size,
        crop_pct=config.data.crop_pct or model.spec.crop_pct,
        num_workers=config.data.num_workers,
    )
    first: Batch = {}
    num_batches = -(-len(dataset.test) // batch_size)
    bar = tqdm(loader, "evaluating", num_batches, unit="batch", disable=not progress)
    for number, host_batch in enumerate(bar):
        batch: Batch = jax.device_put(host_batch)
        first = first or batch
        # The device may lag one batch behind, not more: the batches in flight are in its memory.
        jax.block_until_ready(counts)
        batch_key = jax.random.fold_in(key, number)
        counts = [
            programs[program_of(setting)](params, batch, alpha, batch_key, total)
            for setting, alpha, total in zip(settings, alphas, counts)
        ]
    if not first:
        raise UserError(f"The test split of {dataset.name} is empty (config.data.test_split).")

    calls = {
        program_of(setting): functools.partial(
            programs[program_of(setting)], params, first, alpha, key, Counts.zero()
        )
        for setting, alpha in zip(settings, alphas)
    }
    seconds = seconds_per_call(calls)
    return [
        _row(
            setting,
            jax.device_get(total),
            gmacs=flops(models[program_of(setting)]) / 1e9,
            images_per_second=batch_size / seconds[program_of(setting)],
            has_object_masks=dataset.has_object_masks,
        )
        for setting, total in zip(settings, counts)
    ]


def _compiled(model: VisionTransformer) -> Program:
    # The graph is bound, not a static argument: hashing it would cost a millisecond a call.
    return jax.jit(functools.partial(_count, nnx.split(model)[0]))


def _count(graphdef, params, batch: Batch, alpha, key, total: Counts) -> Counts:
    """`total` and what `batch` adds to it."""
    model = nnx.merge(graphdef, params)
    images = normalize_images(batch["image"], model.spec.mean, model.spec.std)
    logits, trace = model(images, alpha, return_trace=True, rngs=nnx.Rngs(pruning=key))
    every_patch = jnp.arange(model.spec.num_patches)
    positions = (
        trace[-1].kept if trace else jnp.broadcast_to(every_patch, (len(images), len(every_patch)))
    )
    on_object = None
    if "object_mask" in batch:
        on_object = patches_on_object(batch["object_mask"], model.spec.patch_size)
    added = count_batch(logits, batch["label"], batch["valid"], positions, on_object)
    return jax.tree.map(jnp.add, total, added)


def _alphas(setting: PruningConfig | None) -> np.ndarray:
    """One order per pruned block, an argument of the compiled program."""
    return np.asarray(setting.per_block("alpha") if setting else (), np.float32)


def _row(
    setting: PruningConfig | None,
    counts: Counts,
    *,
    gmacs: float,
    images_per_second: float,
    has_object_masks: bool,
) -> dict[str, Any]:
    row = {
        **describe(setting),
        "top1": float(counts.top1 / counts.examples),
        "top5": float(counts.top5 / counts.examples),
        "num_examples": int(counts.examples),
        "gmacs": gmacs,
        "images_per_second": images_per_second,
    }
    if has_object_masks:
        row["kept_on_object"] = float(counts.patches_on_object / counts.patches)
    return row
