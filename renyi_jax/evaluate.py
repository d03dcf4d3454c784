"""Evaluates prunings side by side, on the same weights, images and clock, without training.

The pruning that a checkpoint notes, or else that of the config, and every combination of the sweep.
What is finished is not run again:
start the command once more with other lists, and it adds to what it has.

  python -m renyi_jax.evaluate --config=configs/quickstart.py --checkpoint=runs/quickstart \\
      --keep_rates=1,0.7,0.5 --alphas=1,2,4 --criteria=renyi,cls_attention,random --out=runs/sweep

What differs from block to block has slashes between: --criteria=renyi/cls_attention/cls_attention.

Several checkpoints, or seeds, give one row each setting with the mean over them; {seed} in a path
stands for each of --seeds. Without it, seeds decide what criterion "random" draws.
"""

import ast
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
from absl import flags, logging
from etils import epath
from ml_collections import config_flags

from renyi_jax.analysis.figures import curves
from renyi_jax.analysis.page import encode
from renyi_jax.cli import commands
from renyi_jax.cli.config import define_config, parse_flags, read_config
from renyi_jax.config import check_config, pruning_config, to_json
from renyi_jax.data import Dataset, load_dataset
from renyi_jax.errors import UserError
from renyi_jax.evaluation.cells import Cells
from renyi_jax.evaluation.compare import Baseline, Row, compare, merge_runs
from renyi_jax.evaluation.programs import Programs
from renyi_jax.evaluation.run import Measurement, Setting, measure, measured_row
from renyi_jax.evaluation.settings import (
    SWEEP,
    describe,
    draws,
    evaluation_settings,
    program_of,
)
from renyi_jax.evaluation.store import Identity
from renyi_jax.evaluation.tables import to_csv, to_markdown
from renyi_jax.files import output_folder, write_bytes, write_text
from renyi_jax.models import VisionTransformer
from renyi_jax.models.notes import read_notes
from renyi_jax.models.weights import fill
from renyi_jax.provenance import write_results
from renyi_jax.training import build_model
from renyi_jax.weights import Checkpoint, read_checkpoint, read_metadata
from renyi_jax.weights.locate import locate

_CONFIG = define_config()
_CHECKPOINT = flags.DEFINE_list(
    "checkpoint",
    None,
    "Weights to evaluate, one or several: files, workdirs, embedded: and hf_hub: names."
    " config.model.weights by default.",
)
_SEEDS = flags.DEFINE_list("seeds", None, "Seeds, each a run of its own. config.seed by default.")
_SWEEP = {
    name: flags.DEFINE_string(name, None, f"Comma-separated; as config.evaluate.{name}.")
    for name in SWEEP
}
_BASELINE = flags.DEFINE_string(
    "baseline",
    "none",
    "What the others are tested against: the criterion of a row with the same keep rate, as in"
    " cls_attention or renyi:2; none is the unpruned model.",
)
_OUT = flags.DEFINE_string(
    "out", None, "Folder of the results; made if there is none.", required=True
)


class Run(NamedTuple):
    """One checkpoint under one seed."""

    checkpoint: str
    seed: int


def main() -> None:
    config = _config()
    baseline = Baseline.parse(_BASELINE.value)
    out = output_folder("--out", _OUT.value)
    runs = _runs(config)
    config, is_trained = _as_trained(config, runs)
    dataset = load_dataset(config.data)
    settings = evaluation_settings(pruning_config(config), config.evaluate)
    if None not in settings:
        settings.append(None)  # what agreement and speed-up refer to
    described = [describe(setting) for setting in settings]
    baseline.check(described)

    model = build_model(dataset, config)
    programs, cells = Programs(model, config.mesh.to_dict()), Cells(out / "cells")
    by_run = []
    for run in runs:
        logging.info("Evaluating %s, seed %d.", run.checkpoint, run.seed)
        by_run.append(_evaluate(run, model, dataset, config, settings, programs, cells))
    right = [
        np.stack([measured[place][0].outcomes.top1 for measured in by_run])
        for place in range(len(settings))
    ]
    rows_by_run = [_rows(settings, measured, model, dataset) for measured in by_run]
    rows = [
        merge_runs([rows[place] for rows in rows_by_run], right[place])
        for place in range(len(settings))
    ]
    rows = compare(rows, right, baseline)
    rows = [{**row, "trained": is_trained and row is rows[0]} for row in rows]
    results = {
        "config": to_json(config),
        "runs": [{**run._asdict(), "evaluations": rows} for run, rows in zip(runs, rows_by_run)],
        "baseline": _BASELINE.value,
        "device": jax.devices()[0].device_kind,
        "evaluations": rows,
    }
    _write(out, results)


def _config() -> Any:
    """The config, with the sweep that the flags give."""
    config: Any = ml_collections.ConfigDict(read_config(_CONFIG).to_dict(), type_safe=False)
    for name, flag in _SWEEP.items():
        if flag.value is not None:
            config.evaluate[name] = tuple(
                _literal(part.strip()) for part in flag.value.split(",") if part.strip()
            )
    return check_config(config)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _runs(config: Any) -> list[Run]:
    seeds = [config.seed]
    if _SEEDS.value is not None:
        if not _SEEDS.value or not all(seed.strip().isdigit() for seed in _SEEDS.value):
            raise UserError(f"--seeds={','.join(_SEEDS.value)}: expected integers of at least 0.")
        seeds = [int(seed) for seed in _SEEDS.value]
    paths = _CHECKPOINT.value or [config.model.weights]
    if not all(paths):
        raise UserError("Give --checkpoint=PATH, the weights to evaluate.")
    runs = [Run(path.replace("{seed}", str(seed)), seed) for path in paths for seed in seeds]
    for run in runs:
        locate(run.checkpoint)  # a wrong path is told before anything is computed
    return runs


def _as_trained(config: Any, runs: Sequence[Run]) -> tuple[Any, bool]:
    """The config with the pruning that all checkpoints note, unless the command line says one.

    Returns:
        The config, and whether its pruning is what all were trained with.
    """
    given = config_flags.get_override_values(flags.FLAGS[_CONFIG.name])
    sources = dict.fromkeys(run.checkpoint for run in runs)
    noted = {read_notes(read_metadata(source), source).pruning for source in sources}
    (pruning, *others) = noted
    if pruning == pruning_config(config):
        return config, not others
    if pruning is None or others or any(field.startswith("pruning.") for field in given):
        return config, False
    logging.info(
        "The checkpoint was trained with another pruning than the config has, and is evaluated"
        " with its own: %s. --config.pruning.FIELD=VALUE decides otherwise.",
        pruning,
    )
    return check_config({**config.to_dict(), "pruning": dataclasses.asdict(pruning)}), True


def _evaluate(
    run: Run,
    model: VisionTransformer,
    dataset: Dataset,
    config: Any,
    settings: Sequence[Setting],
    programs: Programs,
    cells: Cells,
) -> list[tuple[Measurement, float]]:
    """The measurement of every setting, and the plain model's speed beside it."""
    config = _with_seed(config, run.seed)
    weights = hashlib.sha256(locate(run.checkpoint).read_bytes()).hexdigest()
    identities = [_identity(run, weights, config, dataset, setting) for setting in settings]
    found = [cells.load(identity) for identity in identities]
    missing = [setting for setting, cell in zip(settings, found) if cell is None]
    if missing:
        checkpoint = read_checkpoint(run.checkpoint)
        _check_classes(checkpoint, model, dataset)
        fill(model, checkpoint)
    # The orders of one program share a pass over the images; each pass leaves finished cells.
    for program in dict.fromkeys(map(program_of, missing)):
        together = [setting for setting in missing if program_of(setting) == program]
        logging.info("%d of %d settings to go.", found.count(None), len(settings))
        measured, speeds = measure(programs, model, dataset, config, together, timed=(None,))
        for setting, measurement in zip(together, measured):
            place = settings.index(setting)
            found[place] = measurement, speeds[None]
            cells.save(identities[place], measurement, speeds[None])
    return [cell for cell in found if cell is not None]


def _check_classes(checkpoint: Checkpoint, model: VisionTransformer, dataset: Dataset) -> None:
    """Raises `UserError` where the classifier is not one of the data's classes."""
    head = checkpoint.tensors.get("head.bias")
    expected = f"expected one of {model.spec.num_classes} classes, as {dataset.name} asks for"
    if head is None:
        raise UserError(f"{checkpoint.path} has no classifier; {expected}.")
    if len(head) != model.spec.num_classes:
        raise UserError(f"{checkpoint.path} has a classifier of {len(head)} classes; {expected}.")
    names = read_notes(checkpoint.metadata, checkpoint.path).class_names
    if names is not None and names != dataset.class_names:
        logging.warning(
            "%s was trained on other classes (%s, ...) than those of %s (%s, ...).",
            *(checkpoint.path, names[0], dataset.name, dataset.class_names[0]),
        )


def _identity(run: Run, weights: str, config: Any, dataset: Dataset, setting: Setting) -> Identity:
    """What decides the numbers of a cell."""
    model, data = config.model, config.data
    identity = {
        "weights": weights,
        "model": [model.name, model.image_size, model.num_classes, model.dtype],
        "data": [data.name, data.builder_config, data.test_split, data.crop_pct, len(dataset.test)],
        "setting": describe(setting),
        "seed": run.seed if draws(setting) else None,
        "batch_size": config.evaluate.batch_size,
        "device": jax.devices()[0].device_kind,
    }
    return json.loads(json.dumps(identity))


def _with_seed(config: Any, seed: int) -> Any:
    fields = ml_collections.ConfigDict(config.to_dict(), type_safe=False)
    fields.seed = seed
    return ml_collections.FrozenConfigDict(fields)


def _rows(
    settings: Sequence[Setting],
    measured: Sequence[tuple[Measurement, float]],
    model: VisionTransformer,
    dataset: Dataset,
) -> list[Row]:
    """The rows, their images per second at the pace that the machine had for the plain model.

    Settings that were measured at different times are told apart by how much faster than the plain
    model beside them they ran, not by what else the machine did.
    """
    plain = measured[settings.index(None)][0]
    rows = []
    for setting, (measurement, plain_speed) in zip(settings, measured):
        speedup = measurement.images_per_second / plain_speed
        row = measured_row(setting, measurement, plain.outcomes, model, dataset)
        row["images_per_second"] = speedup * plain.images_per_second
        rows.append({**row, "speedup": speedup})
    return rows


def _write(out: epath.Path, results: dict[str, Any]) -> None:
    rows = results["evaluations"]
    table = to_markdown(
        rows, "no pruning" if results["baseline"] == "none" else results["baseline"]
    )
    write_text(out / "results.csv", to_csv(rows))
    write_text(out / "results.md", table)
    for x in ("gmacs", "images_per_second"):
        figure = curves(rows, x, "top1")
        for ending in ("png", "svg"):
            write_bytes(out / f"top1_over_{x}.{ending}", encode(figure, ending, dpi=200))
    write_results(out / "results.json", results)
    print(table)
    print(f"Results: {out / 'results.json'}")


if __name__ == "__main__":
    commands.run(main, parse_flags)
