"""The evaluation of a model under its own pruning and a sweep of others: the rows of results.json.

`judging` tells what becomes of every image, `timing` how fast; here both become rows, of one run or
of several: other weights, or other seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from absl import logging

from renyi_jax.common.store import Store
from renyi_jax.data import Dataset
from renyi_jax.evaluation.compare import NO_PRUNING, Baseline, Row, Runs, compare, merge_runs
from renyi_jax.evaluation.judging import Config, judge
from renyi_jax.evaluation.programs import Outcomes, Programs, Setting, summarize
from renyi_jax.evaluation.timing import Timing, time_programs
from renyi_jax.models import VisionTransformer
from renyi_jax.models.flops import count_flops, mean_flops
from renyi_jax.pruning import PruningConfig
from renyi_jax.pruning.sweep import describe, draws, evaluation_settings, program_of


class Run(NamedTuple):
    """One file of weights under one seed."""

    weights: str
    seed: int


class Evaluation(NamedTuple):
    """The rows of results.json."""

    # one for each setting, by `compare`; `trained` says whether the model was trained so. With a
    # store, empty in all processes but the first.
    rows: list[Row]
    by_run: list[list[Row]]  # of each run the rows of `measured_row`


def settings_of(trained: PruningConfig | None, config: Config) -> list[Setting]:
    """The prunings to evaluate: the trained one, the config's sweep, and always none."""
    settings = evaluation_settings(trained, config.evaluate)
    return settings if None in settings else [*settings, None]


def evaluate_runs(
    dataset: Dataset,
    config: Config,
    runs: Sequence[Run],
    load: Callable[[Run], VisionTransformer],
    *,
    store: Store | None = None,
    baseline: Baseline = NO_PRUNING,
    is_trained: bool = True,
    more: Sequence[PruningConfig] = (),
) -> Evaluation:
    """Evaluates every run under every setting, on the same images and clock.

    Args:
        load: gives the model of a run; all are of one shape and pruning, that of the first row.
        more: settings beside those of the config.

    Raises UserError: a setting that cannot be run, or an empty test split.
    """
    model = load(runs[0])
    settings = list(dict.fromkeys([*settings_of(model.pruning, config), *more]))
    programs = Programs(model, config.mesh.to_dict())
    outcomes = []
    for number, run in enumerate(runs):
        logging.info("%s, seed %d: run %d of %d.", *run, number + 1, len(runs))
        model = load(run) if number else model
        outcomes.append(judge(model, dataset, config, settings, run.seed, store, programs))
        _tell_not_finite(run, outcomes[-1])
    timings = time_programs(model, dataset, config, settings, store, programs)
    if jax.process_index() and store is not None:
        return Evaluation([], [])  # what was found, the first process has
    by_run = [_rows(settings, of_run, timings, model, dataset) for of_run in outcomes]
    of_settings = [
        Runs(
            np.stack([of_run[place].top1 for of_run in outcomes]),
            [run if draws(setting) else run.weights for run in runs],
        )
        for place, setting in enumerate(settings)
    ]
    rows = [merge_runs(rows, each) for rows, each in zip(zip(*by_run), of_settings)]
    rows = compare(rows, of_settings, baseline)
    rows = [{**row, "trained": is_trained and row is rows[0]} for row in rows]
    return Evaluation(rows, by_run)


def run_evaluations(
    model: VisionTransformer,
    dataset: Dataset,
    config: Config,
    store: Store | None = None,
    more: Sequence[PruningConfig] = (),
) -> list[Row]:
    """The rows of `evaluate_runs` of one model, which has its weights."""
    runs = [Run("the model", config.seed)]
    return evaluate_runs(dataset, config, runs, lambda _: model, store=store, more=more).rows


def measured_row(
    setting: Setting,
    outcomes: Outcomes,
    plain: Outcomes,
    model: VisionTransformer,
    dataset: Dataset,
) -> Row:
    """Returns the setting (`describe`), the metrics (`summarize`), and the multiply-adds.

    `gmacs` are 10^9 multiply-adds of one image; with adaptive keep counts the mean over the images,
    each with its own tokens, while `gmacs_padded` counts the masked places that are computed too.
    The plain model has keep rate 1 and criterion "none".
    """
    return {
        **describe(setting),
        **summarize(
            outcomes,
            plain,
            num_patches=model.spec.num_patches,
            has_object_masks=dataset.has_object_masks,
        ),
        "gmacs": mean_flops(model.spec, setting, outcomes.tokens) / 1e9,
        "gmacs_padded": count_flops(model.spec, setting) / 1e9,
    }


def _rows(
    settings: Sequence[Setting],
    outcomes: Sequence[Outcomes],
    timings: Mapping[Setting, Timing],
    model: VisionTransformer,
    dataset: Dataset,
) -> list[Row]:
    """Rows of `measured_row`, with `speedup` against the unpruned model, `peak_memory`, and
    `images_per_second` at the pace that the machine had for the unpruned model."""
    plain = outcomes[settings.index(None)]
    rows = []
    for setting, of_setting in zip(settings, outcomes):
        timing = timings[program_of(setting)]
        speedup = timing.images_per_second / timing.plain_images_per_second
        row = measured_row(setting, of_setting, plain, model, dataset)
        row["images_per_second"] = speedup * timings[None].images_per_second
        rows.append(row | {"speedup": speedup, "peak_memory": timing.peak_memory})
    return rows


def _tell_not_finite(run: Run, outcomes: Sequence[Outcomes | None]) -> None:
    counts = [np.count_nonzero(~np.isfinite(each.nll)) for each in outcomes if each is not None]
    if any(counts):
        logging.warning(
            "%s, seed %d: the logits of up to %d test images are not finite, under %d of %d"
            " prunings; such an image counts as wrong, and its log likelihood is unknown.",
            *(*run, max(counts), np.count_nonzero(counts), len(counts)),
        )
