"""The main job: loads a ViT, fine-tunes it with pruning, evaluates it, and shows it.

Started again on the same workdir, it goes on where it was, and does nothing twice.

  python -m renyi_jax.main --config=configs/quickstart.py --workdir=runs/quickstart
"""

import json
import re
import shlex
import sys
from typing import Any

import jax
from absl import flags, logging
from etils import epath

from renyi_jax.cli import commands
from renyi_jax.cli.config import define_config, parse_flags, read_config
from renyi_jax.common.files import output_folder, write_json, write_text
from renyi_jax.common.store import Store
from renyi_jax.config import pruning_config, to_json
from renyi_jax.data import Dataset
from renyi_jax.data.datasets import load_dataset
from renyi_jax.errors import UserError
from renyi_jax.evaluation.results import model_card, write_evaluation
from renyi_jax.evaluation.run import run_evaluations
from renyi_jax.models import fill, load, save_weights
from renyi_jax.models.registry import model_spec
from renyi_jax.models.weights import check_fit
from renyi_jax.parallel import all_or_none, join_processes
from renyi_jax.planning import Plan, find_plans
from renyi_jax.planning.cost import gmacs_budget, gmacs_of
from renyi_jax.planning.images import read_records
from renyi_jax.planning.results import words_of
from renyi_jax.pruning import DEFAULT_CRITERION, DRAWN, PUBLISHED
from renyi_jax.training import build_model, claim, leave_on_signals, tell_preemption_service, train
from renyi_jax.training.setup import announcement
from renyi_jax.training.xla_cpu import keep_memory
from renyi_jax.weights import Checkpoint, read_checkpoint

PLAN_IMAGES = 1000
"""Training images that a plan is made on."""

_CONFIG = define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; made if there is none.", required=True
)
_FORCE = flags.DEFINE_bool(
    "force", False, "Go on from the checkpoints of a config that differs in what decides the run."
)
_STOPPED_STATUS = flags.DEFINE_integer(
    "stopped_status",
    0,
    "With what to end after SIGTERM or Ctrl-C; a run that is done ends with 0.",
    lower_bound=0,
    upper_bound=255,
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join the other processes of the run, which JAX finds by itself."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address", None, "HOST:PORT of process 0, where JAX cannot find it."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Processes of the run.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")


def main() -> None:
    leave_on_signals(_STOPPED_STATUS.value)
    keep_memory()
    config: Any = read_config(_CONFIG)
    workdir = output_folder("--workdir", _WORKDIR.value, is_globbed=True)
    join_processes(_DISTRIBUTED.value, _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    tell_preemption_service()
    results_file = workdir / "results.json"
    if _is_done(results_file, config):
        print(f"Nothing to do: {workdir} holds the results of this config.")
    else:
        # What needs no data first: to download and prepare them can take hours.
        weights = _read_weights(config)
        all_or_none(lambda: claim(workdir, config))
        dataset = load_dataset(config.data)
        model = build_model(dataset, config)
        if weights:
            fill(model, weights)
        if jax.process_index() == 0:
            print(announcement(model, dataset, config), flush=True)
        train(model, dataset, config, workdir, force=_FORCE.value)
        is_first = jax.process_index() == 0
        if is_first:
            names = dataset.class_names if dataset.num_classes == model.spec.num_classes else None
            save_weights(model, str(workdir / "model.safetensors"), class_names=names)
        store = Store(workdir / "cells")
        plans = _plans(dataset, config, workdir, store)
        rows = run_evaluations(model, dataset, config, store, [each.pruning for each in plans])
        if is_first:
            write_text(workdir / "README.md", model_card(model, rows, dataset, config))
            write_evaluation(workdir, rows, model, dataset, config)
    print(f"Results: {results_file}")
    print(f"Report:  {workdir / 'report' / 'index.html'}")
    if (workdir / "plan.json").exists():
        print(f"Plan:    {workdir / 'plan.json'}")
    print("Next:")
    for command in _next_commands(workdir):
        print(f"  {command}")


def _plans(dataset: Dataset, config: Any, workdir: epath.Path, store: Store) -> list[Plan]:
    """The plan that the config asks for, made on training images and written to plan.json."""
    candidates, batch_size = config.evaluate.plan_candidates, config.evaluate.batch_size
    if not candidates:
        return []
    if jax.process_count() > 1:
        logging.warning("No plan is made on several machines: renyi_jax.plan makes one on one.")
        return []
    model, _ = load(str(workdir))
    budget = gmacs_budget(model.spec, gmacs_of(model.spec)(pruning_config(config).stages))
    images, labels = read_records(
        dataset.train, model.spec, PLAN_IMAGES, config.seed, config.data.crop_pct
    )
    options: Any = {"labels": labels, "candidates": candidates, "seed": config.seed}
    (found,) = find_plans(model, images, [budget], store=store, batch_size=batch_size, **options)
    write_json(workdir / "plan.json", found.plan.to_json())
    print(words_of(found.plan))
    return [found.plan]


def _next_commands(workdir: epath.Path) -> list[str]:
    """What a user may want to do with the weights of a run."""
    configured = [argument for argument in sys.argv[1:] if re.match("--?config", argument)]
    criteria = ",".join((DEFAULT_CRITERION, *PUBLISHED, *DRAWN))
    sweep = ["--keep_rates=0.9,0.7,0.5", f"--criteria={criteria}"]
    commands_and_flags = {
        "predict": ["--image=FILE"],
        "evaluate": [*configured, *sweep, f"--out={workdir / 'sweep'}"],
        "export": [f"--out={workdir / 'model.jax'}"],
    }
    return [
        shlex.join(["python", "-m", f"renyi_jax.{name}", f"--weights={workdir}", *arguments])
        for name, arguments in commands_and_flags.items()
    ]


def _read_weights(config: Any) -> Checkpoint | None:
    """The weights to start from, which fit the model."""
    if not config.model.weights:
        return None
    checkpoint = read_checkpoint(config.model.weights, config.model.state or None)
    spec = model_spec(config.model.name, image_size=config.model.image_size or None)
    check_fit(spec, checkpoint)
    return checkpoint


def _is_done(results_file: epath.Path, config: Any) -> bool:
    if not results_file.exists():
        return False
    try:
        results = json.loads(results_file.read_text())
        written_by = re.search(r"renyi_jax\.(\w+)", results.get("made_by", {}).get("command", ""))
        if written_by and written_by[1] != "main":
            raise ValueError(f"It is of the command {written_by[1]}.")
        return results["config"] == to_json(config)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{results_file} is not what this command writes; move it, or give another --workdir."
        ) from error


if __name__ == "__main__":
    commands.run(main, parse_flags, heeds_signals=True)
