"""The evaluation of a model under its own pruning and a sweep of others: the rows of results.json.

Each batch of the test split is decoded and sent to the device once, then judged under every
setting, image by image.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import Int

from renyi_jax.data import Dataset, eval_loader
from renyi_jax.errors import UserError
from renyi_jax.evaluation.metrics import Outcomes, summarize
from renyi_jax.evaluation.programs import Batch, Programs, alphas_of
from renyi_jax.evaluation.settings import describe, evaluation_settings, program_of
from renyi_jax.evaluation.throughput import seconds_per_call
from renyi_jax.models import VisionTransformer
from renyi_jax.models.flops import count_flops
from renyi_jax.parallel import BatchPlacement, put, replicated, spread
from renyi_jax.progress import phase, progress
from renyi_jax.pruning import PruningConfig

# An ml_collections.ConfigDict: its attributes have no types that could be checked.
Config = Any
Setting = PruningConfig | None
Judged = tuple[Outcomes, Any]
"""The outcomes of images, and the tokens that leave each pruned block."""


class Measurement(NamedTuple):
    """What was measured of one setting.

    Attributes:
        outcomes: of every test image, as numpy arrays, in the order of the test split.
        tokens: that leave each pruned block, likewise, as `evaluate_batch_and_count` counts them.
        images_per_second: of the compiled evaluation step (normalisation, model, judgement) on one
            batch that lies on the device already, median over repetitions.
        peak_memory: bytes of device memory of that step, as `Program` has them.
    """

    outcomes: Outcomes
    tokens: Int[np.ndarray, "images stages"]
    images_per_second: float
    peak_memory: int | None


def run_evaluations(
    model: VisionTransformer, dataset: Dataset, config: Config
) -> list[dict[str, Any]]:
    """Evaluates the model under every setting of `evaluation_settings`, on every test image once.

    Args:
        model: the trained model; its pruning is the first row.
        dataset: its test split is read once, whatever the number of settings.
        config: the fields read are `seed`, `data.num_workers`, `data.crop_pct` (0 is the model's
            own), and of `evaluate`: `batch_size`, and the lists of the sweep.

    Returns:
        One dict per setting, of `describe` and `measured_row`.

    Raises:
        UserError: a setting that cannot be run, or an empty test split.
    """
    settings = evaluation_settings(model.pruning, config.evaluate)
    programs = Programs(model, config.mesh.to_dict())
    measured, _ = measure(programs, model, dataset, config, settings)
    plain = measured[settings.index(None)].outcomes if None in settings else None
    return [
        measured_row(setting, measurement, plain, model, dataset)
        for setting, measurement in zip(settings, measured)
    ]


def measured_row(
    setting: Setting,
    measurement: Measurement,
    plain: Outcomes | None,
    model: VisionTransformer,
    dataset: Dataset,
) -> dict[str, Any]:
    """One row of results.json.

    - The setting, as `describe` has it. The plain model is the row of keep rate 1, with criterion
      "none".
    - The metrics of `summarize`.
    - `gmacs`: 10^9 multiply-adds of one image, by `flops`; under adaptive keep counts the mean over
      the images, each with its own tokens. `gmacs_padded` counts the places that are masked, which
      are computed too: what the compiled program spends.
    - `images_per_second`, `peak_memory`: as in `Measurement`.
    """
    return {
        **describe(setting),
        **summarize(
            measurement.outcomes,
            plain,
            num_patches=model.spec.num_patches,
            has_object_masks=dataset.has_object_masks,
        ),
        "gmacs": _mean_flops(model, setting, measurement.tokens) / 1e9,
        "gmacs_padded": count_flops(model.spec, setting) / 1e9,
        "images_per_second": measurement.images_per_second,
        "peak_memory": measurement.peak_memory,
    }


def measure(
    programs: Programs,
    model: VisionTransformer,
    dataset: Dataset,
    config: Config,
    settings: Sequence[Setting],
    *,
    timed: Sequence[Setting] = (),
) -> tuple[list[Measurement], dict[Setting, float]]:
    """Judges every test image under every setting, and times the programs against each other.

    Args:
        programs: of this model or another of its shape; what they lack is compiled.
        model: whose weights are taken.
        dataset: its test split is read once.
        config: as in `run_evaluations`.
        settings: the prunings.
        timed: further settings, whose programs are only timed, in turns with the others.

    Returns:
        One measurement per setting, and the images per second of every program by `program_of`.

    Raises:
        UserError: an empty test split.
    """
    mesh = programs.mesh
    # The batch grows to a multiple of the devices; what fills it up is not judged.
    shards = spread(mesh)
    batch_size = -(-config.evaluate.batch_size // shards) * shards
    place = BatchPlacement(mesh, batch_size)
    params = put(nnx.split(model)[1], replicated(mesh))
    key = jax.random.key(config.seed)
    judged: list[list[Judged]] = [[] for _ in settings]
    first: Batch = {}
    pending: tuple[int, Any] | None = None

    def collect(number: int, of_batch: Sequence[Judged]) -> None:
        valid = len(dataset.test) - number * batch_size
        for kept, each in zip(judged, jax.device_get(of_batch)):
            kept.append(jax.tree.map(lambda field: np.asarray(field)[:valid], each))

    for number, host_batch in enumerate(evaluation_batches(model, dataset, config, place)):
        batch = place(host_batch)
        first = first or batch
        batch_key = jax.random.fold_in(key, number)
        of_batch = [
            programs.get(setting, params, batch, key).run(
                params, batch, alphas_of(setting), batch_key
            )
            for setting in settings
        ]
        # The device may run one batch ahead, not more: the batches in flight are in its memory.
        if pending is not None:
            collect(*pending)
        pending = number, of_batch
    if pending is None:
        raise UserError(f"The test split of {dataset.name} is empty (config.data.test_split).")
    collect(*pending)

    by_program = {
        program_of(setting): programs.get(setting, params, first, key)
        for setting in (*settings, *timed)
    }
    calls = {
        name: functools.partial(program.run, params, first, alphas_of(name), key)
        for name, program in by_program.items()
    }
    for call in calls.values():
        jax.block_until_ready(call())  # warms up
    # Of several processes each has a clock of its own, and all must make the same rounds.
    budget = 1.0 if jax.process_count() == 1 else 0.0
    with phase("Timing", budget * len(calls)):
        seconds = seconds_per_call(calls, budget=budget)
    speeds = {name: batch_size / of_batch for name, of_batch in seconds.items()}
    measurements = []
    for setting, of_setting in zip(settings, judged):
        outcomes, tokens = jax.tree.map(lambda *batches: np.concatenate(batches), *of_setting)
        name = program_of(setting)
        measurements.append(
            Measurement(outcomes, tokens, speeds[name], by_program[name].peak_memory)
        )
    return measurements, speeds


def evaluation_batches(
    model: VisionTransformer,
    dataset: Dataset,
    config: Config,
    place: BatchPlacement,
):
    loader = eval_loader(
        dataset,
        batch_size=place.batch_size,
        image_size=model.spec.image_size,
        crop_pct=config.data.crop_pct or model.spec.crop_pct,
        num_workers=config.data.num_workers,
        process_index=place.index,
        process_count=place.count,
    )
    total = -(-len(dataset.test) // place.batch_size)
    return progress(loader, "Evaluating", unit="batch", total=total)


def _mean_flops(model: VisionTransformer, setting: Setting, tokens: np.ndarray) -> float:
    if setting is None or not setting.adapts:
        return float(count_flops(model.spec, setting))
    counts, numbers = np.unique(tokens, axis=0, return_counts=True)
    each = [count_flops(model.spec, setting, row) for row in counts.tolist()]
    return float(np.average(each, weights=numbers))
