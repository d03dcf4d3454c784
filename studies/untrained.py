"""Judges the prunings of every plan on one checkpoint, without training. Start it again to go on.

  python -m studies.untrained --config=studies/configs/nano.py --out=runs/study_nano

OUT/cells holds the outcome of every image, and OUT/PLAN_top1.json and OUT/PLAN_nll.json one row for
each method and keep rate, compared with cls_attention on the same images.
"""

import functools
from typing import Any

from absl import flags

from renyi_jax.cli import commands
from renyi_jax.cli.config import define_config, parse_flags, read_config
from renyi_jax.common.files import output_folder
from renyi_jax.common.store import Store
from renyi_jax.config import pruning_config
from renyi_jax.data.datasets import load_dataset
from renyi_jax.models import load_weights
from renyi_jax.training import build_model
from studies.judging import judge
from studies.plan_flags import BASELINE, define_plans, rows_name
from studies.rows import accuracy_rows, write_rows

_CONFIG = define_config()
_plans = define_plans()
_OUT = flags.DEFINE_string("out", None, "Folder of the results.", required=True)


def main() -> None:
    config: Any = read_config(_CONFIG)
    out = output_folder("--out", _OUT.value)
    dataset = load_dataset(config.data)
    model = build_model(dataset, config)
    load_weights(model, config.model.weights)
    store = Store(out / "cells")
    judge_all = functools.partial(judge, model, dataset, config)
    for plan, entries, asked in _plans(pruning_config(config), model.spec):
        judge_all(asked, store)
        cells = judge_all(entries, store, compute=False)
        runs = [[cell] for cell in cells.values()]
        for score in ("top1", "nll"):
            rows = accuracy_rows(list(cells), runs, model.spec, dataset, score, BASELINE.value)
            write_rows(out / rows_name(plan, score), rows, score, config)


if __name__ == "__main__":
    commands.run(main, parse_flags)
