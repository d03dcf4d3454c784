"""Evaluates prunings side by side, on the same weights, images and clock, without training.

The pruning of --plan, or that which the weights note, or else that of the config, every combination
of the sweep, and the unpruned model. What is finished is not run again: start the command once more
with other lists, and it adds to what it has. Lists of the config count only where no list is given
here.

  python -m renyi_jax.evaluate --config=configs/quickstart.py --weights=runs/quickstart \\
      --keep_rates=1,0.7,0.5 --alphas=1,2,4 --criteria=renyi,cls_attention,random --out=runs/sweep

What differs from block to block has slashes between: --criteria=renyi/cls_attention/cls_attention.

Several weights, or seeds, give one row each setting with the mean over them; {seed} in a path
stands for each of --seeds. Without it, seeds decide what criterion "random" draws.

A folder of images needs no config. Its classes may be some of the model's, by their names, or, of a
model of ImageNet's classes, by their ids (n01440764):

  python -m renyi_jax.evaluate --data=imagenet --keep_rates=0.9,0.7 --out=runs/imagenet \\
      --weights=hf_hub:timm/deit_small_patch16_224.fb_in1k
"""

import functools
import itertools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import ml_collections
from absl import flags, logging
from ml_collections import config_flags

from renyi_jax.cli import commands
from renyi_jax.cli.config import define_config, parse_flags, read_config
from renyi_jax.cli.model import define_class_names, define_plan, define_state
from renyi_jax.cli.values import define
from renyi_jax.common.fields import several
from renyi_jax.common.files import output_folder, path_of
from renyi_jax.common.store import Store
from renyi_jax.config import FIELDS, check_config, pruning_config
from renyi_jax.data.datasets import load_dataset
from renyi_jax.errors import UserError
from renyi_jax.evaluation import image_folder_config
from renyi_jax.evaluation.classes import check_head, in_classes_of
from renyi_jax.evaluation.compare import Baseline
from renyi_jax.evaluation.results import write_evaluation
from renyi_jax.evaluation.run import Run, evaluate_runs, settings_of
from renyi_jax.models import VisionTransformer
from renyi_jax.models.load import model_of
from renyi_jax.models.notes import read_notes
from renyi_jax.models.weights import fill
from renyi_jax.pruning import DEFAULT_CRITERION, PUBLISHED, PruningConfig
from renyi_jax.pruning.sweep import SWEEP, describe
from renyi_jax.training.setup import model_for
from renyi_jax.weights import Checkpoint, read_checkpoint, read_metadata
from renyi_jax.weights.locate import locate

_CONFIG = define_config()
_DATA = flags.DEFINE_string(
    "data",
    None,
    "Folder of images, in place of the config's data: DIR/SPLIT/CLASS/*.jpg or DIR/CLASS/*.jpg.",
)
_MODEL = flags.DEFINE_string(
    "model", None, "Name of the model. The config's by default; without one, that of the weights."
)
_WEIGHTS = flags.DEFINE_list(
    "weights",
    None,
    "Weights to evaluate, one or several: files, workdirs, embedded: and hf_hub: names."
    " config.model.weights by default.",
)
_STATE = define_state()
_PLAN = define_plan()
_class_names = define_class_names()
_FIELDS: Any = FIELDS
_SEEDS = define(
    "seeds",
    several((), _FIELDS["seed"]),
    "Comma-separated; each is a run of its own. config.seed by default.",
    default=None,
)
_SWEEP = {
    name: define(
        name,
        _FIELDS["evaluate"][name],
        f"Comma-separated; as config.evaluate.{name}.",
        default=None,
    )
    for name in SWEEP
}
_BASELINE = flags.DEFINE_string(
    "baseline",
    "none",
    "What the others are tested against: the criterion of a row with the same keep rate, as in"
    f" {PUBLISHED[0]} or {DEFAULT_CRITERION}:2; none is the unpruned model.",
)
_OUT = flags.DEFINE_string(
    "out", None, "Folder of the results; made if there is none.", required=True
)


def main() -> None:
    baseline = Baseline.parse(_BASELINE.value)
    names = _class_names()
    fields = _given_fields()
    runs = _runs(fields)
    state = fields.model.state or None
    read = functools.lru_cache(maxsize=1)(functools.partial(read_checkpoint, state=state))
    is_trained = _take_notes(fields, runs, read)
    config: Any = check_config(fields)
    settings = settings_of(pruning_config(config), config)
    baseline.check([describe(setting) for setting in settings])
    out = output_folder("--out", _OUT.value)

    dataset = in_classes_of(
        read(runs[0].weights), load_dataset(config.data), names, config.model.num_classes
    )
    model = model_for(config.model.num_classes or dataset.num_classes, config)

    def load(run: Run) -> VisionTransformer:
        checkpoint = read(run.weights)
        check_head(checkpoint, model.spec.num_classes)
        compiled_for = model.spec
        fill(model, checkpoint)
        if run != runs[0] and model.spec != compiled_for:
            raise UserError(
                f"{run.weights} and {runs[0].weights} expect images normalised or cropped in"
                " different ways; evaluate them one at a time."
            )
        return model

    store = Store(out / "cells")
    evaluation = evaluate_runs(
        dataset, config, runs, load, store=store, baseline=baseline, is_trained=is_trained
    )
    by_run = [{**run._asdict(), "evaluations": rows} for run, rows in zip(runs, evaluation.by_run)]
    write_evaluation(
        *(out, evaluation.rows, model, dataset, config),
        baseline=_BASELINE.value,
        weights=config.model.weights,
        more={"runs": by_run},
    )
    print(f"Results: {out / 'results.json'}")
    print(f"Report:  {out / 'report' / 'index.html'}")


def _given_fields() -> Any:
    """The fields of the config, with what the flags say in the place of its data and its sweep."""
    config = _CONFIG.value if _CONFIG.value is None or _is_default() else read_config(_CONFIG)
    if config is None:
        raise UserError(
            "Give --config=FILE, a file whose get_config() returns a config, or --data."
        )
    fields: Any = ml_collections.ConfigDict(config.to_dict(), type_safe=False)
    fields.train.epochs = 0  # the weights are evaluated as they are
    if _DATA.value is not None:
        folder = path_of("--data", _DATA.value)
        if not folder.is_dir():
            raise UserError(f"--data={folder} is not a folder.")
        fields.data.update(name="image_folder", manual_dir=str(folder), builder_config="")
        if "data.test_share" not in _overrides():
            fields.data.test_share = 1.0  # nothing is trained on the rest
    if _MODEL.value is not None:
        fields.model.name = _MODEL.value
    if _STATE.value is not None:
        fields.model.state = _STATE.value
    if _PLAN.value is not None:
        fields.pruning = PruningConfig.load(_PLAN.value).to_json()
    swept = {name: flag.value for name, flag in _SWEEP.items() if flag.value is not None}
    for name in SWEEP:
        if name in swept:
            _refuse_duplicates(name, swept[name])
            fields.evaluate[name] = swept[name]
        elif swept and f"evaluate.{name}" not in _overrides():
            fields.evaluate[name] = ()
    return fields


def _runs(fields: Any) -> list[Run]:
    """Every file of weights under every seed; a wrong path is told before anything is computed."""
    seeds = [fields.seed]
    if _SEEDS.value is not None:
        seeds = _SEEDS.value
        _refuse_duplicates("seeds", seeds)
    paths = [fields.model.weights] if _WEIGHTS.value is None else _WEIGHTS.value
    if not paths or not all(paths):
        raise UserError("Give --weights=PATH, the weights to evaluate.")
    runs = [
        Run(path.replace("{seed}", str(seed)), seed)
        for path, seed in itertools.product(paths, seeds)
    ]
    _refuse_duplicates("weights", [f"{run.weights}, seed {run.seed}," for run in runs])
    for source in dict.fromkeys(run.weights for run in runs):
        locate(source)
    fields.model.weights = runs[-1].weights  # which the model has when its page is drawn
    return runs


def _take_notes(fields: Any, runs: Sequence[Run], read: Callable[[str], Checkpoint]) -> bool:
    """Takes from what the weights note the pruning, unless the command line says one, and the
    model, where there is no config.

    Args:
        fields: of the config; changed.
        runs: whose weights.
        read: reads them whole, where their notes leave the model open.

    Returns:
        Whether the pruning is what all were trained with.
    """
    notes = {run.weights: read_notes(read_metadata(run.weights), run.weights) for run in runs}
    (sizes, names) = (
        {getattr(each, of) for each in notes.values()} for of in ("image_size", "model")
    )
    if _is_default() and _MODEL.value is None and "model.name" not in _overrides():
        if len(names) > 1:
            raise UserError("--model=NAME is needed: the weights are of several models.")
        fields.model.name = names.pop() or model_of(read(runs[0].weights))
    if _is_default() and len(sizes) == 1 and "model.image_size" not in _overrides():
        fields.model.image_size = sizes.pop() or 0
    (pruning, *others) = {each.pruning for each in notes.values()}
    is_given = _PLAN.value is not None or any(n.startswith("pruning.") for n in _overrides())
    if pruning is None or others or is_given:
        return (
            not others and pruning is not None and pruning == pruning_config(check_config(fields))
        )
    logging.info(
        "The weights were trained with this pruning, and are evaluated with it: %s.", pruning
    )
    fields.pruning = pruning.to_json()
    return True


def _refuse_duplicates(name: str, values: Sequence[Any]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise UserError(f"--{name}: {value} is given twice.")


def _overrides() -> Collection[str]:
    """The fields that the command line sets."""
    return config_flags.get_override_values(flags.FLAGS[_CONFIG.name])


def _is_default() -> bool:
    """Whether the user gave no config."""
    return (
        config_flags.get_config_filename(flags.FLAGS[_CONFIG.name]) == image_folder_config.__file__
    )


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; where there is --data and no --config, as if the default were given."""
    names = {argument.lstrip("-").partition("=")[0] for argument in argv[1:]}
    if "data" in names and "config" not in names:
        argv = [argv[0], f"--config={image_folder_config.__file__}", *argv[1:]]
    return parse_flags(argv)


if __name__ == "__main__":
    commands.run(main, _parse)
