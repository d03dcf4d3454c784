"""Fine-tunes with several prunings from one checkpoint, and judges each. Start it again to go on.

The config says from which weights, on what and for how long: it is the same for every method, keep
rate and seed.

  python -m studies.trained --config=studies/configs/nano.py --out=runs/study

OUT/runs holds the trained weights, OUT/cells the outcome of every image, which is named by the
training and suffices for a row; and OUT/trained_top1.json and OUT/trained_nll.json one row for each
method and keep rate, over the seeds that are done so far.
"""

import functools
import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags, logging
from etils import epath

from renyi_jax.cli import commands
from renyi_jax.cli.config import define_config, parse_flags, read_config
from renyi_jax.common.files import output_folder
from renyi_jax.common.store import Store
from renyi_jax.config import check_config, pruning_config, to_json
from renyi_jax.data import Dataset
from renyi_jax.data.datasets import load_dataset
from renyi_jax.errors import UserError, nearest
from renyi_jax.evaluation.judging import OUTCOMES, fingerprint_of, load_cell
from renyi_jax.evaluation.programs import Outcomes
from renyi_jax.models import ModelSpec, VisionTransformer, load_weights, save_weights
from renyi_jax.models.flops import count_flops
from renyi_jax.training import build_model, train
from renyi_jax.training.xla_cpu import keep_memory
from renyi_jax.weights.locate import locate
from studies.judging import judge
from studies.plan_flags import BASELINE, FINISHED, rows_name
from studies.plans import Entry, fine_tuning
from studies.rows import accuracy_rows, write_rows

_CONFIG = define_config()
_METHODS = flags.DEFINE_multi_string("method", None, "Of those of the plan; all by default.")
_RATES = flags.DEFINE_list("keep_rates", ["0.5", "0.3", "0.7"], "In the order of their turns.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Each a training of its own.")
_PLANNED = flags.DEFINE_string("planned", None, "Folder of plan_RATE.json, for the method planned.")
_ENTROPIES = flags.DEFINE_list(
    "entropy_weights", None, "Of the regulariser: each method with each, as a method of its own."
)
_OUT = flags.DEFINE_string("out", None, "Folder of the results.", required=True)


def main() -> None:
    keep_memory()
    config: Any = read_config(_CONFIG)
    out = output_folder("--out", _OUT.value)
    dataset = load_dataset(config.data)
    store = Store(out / "cells")
    spec = build_model(dataset, config).spec
    entries = list(_entries(config, spec))
    seeds = [int(seed) for seed in _SEEDS.value]
    done: dict[Entry, list[Outcomes]] = {}
    for seed, (entry, weight) in itertools.product(seeds, _regularised(config, entries)):
        cell = _cell_config(config, entry, seed, weight)
        training = _training(cell)
        name = {"training": training, "images": fingerprint_of(dataset.test)}
        shapes = OUTCOMES.shapes(entry.pruning)
        outcomes = load_cell(store, name, shapes, len(dataset.test))
        if outcomes is None and not FINISHED.value:
            logging.info("Fine-tuning %s at %g, seed %d.", *entry[:2], seed)
            model = _trained(dataset, cell, out / "runs" / _digest(training))
            outcomes = judge(model, dataset, cell, [entry], store, names=[name])[entry]
        if outcomes is not None:
            done.setdefault(entry, []).append(outcomes)
    for score in ("top1", "nll"):
        rows = accuracy_rows(list(done), list(done.values()), spec, dataset, score, BASELINE.value)
        write_rows(out / rows_name("trained", score), rows, score, config)


def _entries(config: Any, spec: ModelSpec) -> Iterator[Entry]:
    rates = tuple(map(float, _RATES.value))
    cost = functools.partial(count_flops, spec)
    folder = Path(_PLANNED.value) if _PLANNED.value else None
    entries = list(fine_tuning(pruning_config(config), rates, cost, folder))
    known = list(dict.fromkeys(entry.method for entry in entries))
    for name in _METHODS.value or ():
        if name not in known:
            raise UserError(
                f"There is no method {name!r}; known: {'; '.join(known)}.{nearest(name, known)}"
            )
    return (entry for entry in entries if entry.method in (_METHODS.value or known))


def _regularised(config: Any, entries: Sequence[Entry]) -> list[tuple[Entry, float]]:
    """Each entry with each weight of the entropy in the loss; the config's, if none is given."""
    if _ENTROPIES.value is None:
        return [(entry, config.train.entropy_weight) for entry in entries]
    weights = sorted(map(float, _ENTROPIES.value), key=abs)  # 0, the baseline, first
    return [
        (
            entry._replace(
                method=f"{entry.method}, entropy {weight:g}" if weight else entry.method
            ),
            weight,
        )
        for entry in entries
        for weight in weights
    ]


def _cell_config(config: Any, entry: Entry, seed: int, entropy_weight: float) -> Any:
    assert entry.pruning is not None
    changes = {"pruning": entry.pruning.to_json(), "train": {"entropy_weight": entropy_weight}}
    return check_config(_changed(config, **changes, seed=seed))


def _changed(config: Any, **changes: Any) -> Any:
    fields: Any = ml_collections.ConfigDict(config.to_dict(), type_safe=False)
    fields.update(changes)
    return ml_collections.FrozenConfigDict(fields)


def _trained(dataset: Dataset, config: Any, folder: epath.Path) -> VisionTransformer:
    """The trained model; its weights, once they are whole, stay in the folder, no checkpoints."""
    weights = folder / "model.safetensors"
    model = build_model(dataset, config)
    if weights.exists():
        load_weights(model, str(weights))
        return model
    load_weights(model, config.model.weights)
    train(model, dataset, config, folder)
    save_weights(model, str(weights))
    shutil.rmtree(folder / "checkpoints")
    return model


def _training(config: Any) -> dict[str, Any]:
    """All that decides a training, as JSON has it; where things lie does not."""
    fields = to_json(config)
    start = hashlib.sha256(locate(config.model.weights).read_bytes()).hexdigest()
    named = {name: fields[name] for name in ("seed", "model", "pruning", "data", "train")}
    named["model"] |= {"weights": start}
    for name in ("data_dir", "manual_dir", "test_split", "num_workers"):
        del named["data"][name]
    return json.loads(json.dumps(named))


def _digest(training: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(training, sort_keys=True).encode()).hexdigest()[:16]


if __name__ == "__main__":
    commands.run(main, parse_flags)
