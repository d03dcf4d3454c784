"""Finds adaptive keep counts that cost what fixed ones do in the mean. Start it again to go on.

  python -m studies.masses --config=studies/configs/nano.py \\
      '--config.data.test_split=train[:500]' --out=runs/study_adaptive
  python -m studies.untrained --config=studies/configs/nano.py --plans=adaptive \\
      --planned=runs/study_adaptive --out=runs/study_nano

For each entropy of the plan `adaptive`, OUT/METHOD_RATE.json is the pruning with the keep_mass for
which the images of the test split cost as much as fixed counts at that rate.
"""

import functools
from pathlib import Path
from typing import Any

from absl import flags

from renyi_jax.cli import commands
from renyi_jax.cli.config import define_config, parse_flags, read_config
from renyi_jax.common.files import output_folder
from renyi_jax.common.store import Store
from renyi_jax.config import pruning_config
from renyi_jax.data.datasets import load_dataset
from renyi_jax.models import load_weights
from renyi_jax.models.flops import count_flops
from renyi_jax.training import build_model
from studies.judging import at_mean_cost, judge
from studies.plans import adaptive, in_file

_CONFIG = define_config()
_OUT = flags.DEFINE_string("out", None, "Folder of the results.", required=True)


def main() -> None:
    config: Any = read_config(_CONFIG)
    out = output_folder("--out", _OUT.value)
    dataset = load_dataset(config.data)
    model = build_model(dataset, config)
    load_weights(model, config.model.weights)
    judge_all = functools.partial(judge, model, dataset, config, store=Store(out / "cells"))
    cost = functools.partial(count_flops, model.spec)
    for entry in adaptive(pruning_config(config), cost):
        assert entry.pruning is not None
        if all(stage.can_adapt for stage in entry.pruning.stages):
            adapted = at_mean_cost(entry.pruning, model.spec, judge_all)
            adapted.save(Path(out) / f"{in_file(entry.method)}_{entry.rate:g}.json")


if __name__ == "__main__":
    commands.run(main, parse_flags)
