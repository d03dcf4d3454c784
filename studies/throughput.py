"""Times the prunings of plans, by turns: images per second over those of the unpruned model.

  python -m studies.throughput --config=studies/configs/nano.py --plans=baselines,places \\
      --out=runs/study_nano

Weights and images are random: no time depends on them. OUT/PLAN_throughput.json has the rows, with
intervals over turns; what is compared took its turn right after or before.
"""

from typing import Any

import jax
import numpy as np
from absl import flags

from renyi_jax.cli import commands
from renyi_jax.cli.config import define_config, parse_flags, read_config
from renyi_jax.common.files import output_folder
from renyi_jax.common.progress import phase, progress
from renyi_jax.config import pruning_config
from renyi_jax.measuring.side_by_side import Group, forward_pass
from renyi_jax.measuring.throughput import times_per_call
from renyi_jax.models.registry import model_spec
from studies.plan_flags import BASELINE, define_plans, rows_name
from studies.plans import PLAIN
from studies.rows import rows_of, write_rows

_CONFIG = define_config()
_plans = define_plans()
_BUDGET = flags.DEFINE_float("budget", 10.0, "Seconds for each program.")
_OUT = flags.DEFINE_string("out", None, "Folder of the results.", required=True)


def main() -> None:
    config: Any = read_config(_CONFIG)
    out = output_folder("--out", _OUT.value)
    spec = model_spec(config.model.name, image_size=config.model.image_size or None)
    batch_size = config.evaluate.batch_size
    group = Group(config.model.name, spec.image_size, config.model.dtype, batch_size, latency=False)
    for plan, _, asked in _plans(pruning_config(config), spec):
        calls = {
            entry: forward_pass(group, entry.pruning).run for entry in progress(asked, "Compiling")
        }
        for call in calls.values():
            jax.block_until_ready(call())
        with phase("Timing", _BUDGET.value * len(calls)):
            seconds = times_per_call(calls, budget=_BUDGET.value)
        plain = np.array(seconds[PLAIN])
        scores = [(plain / turns)[None] for turns in seconds.values()]
        rows = rows_of(list(seconds), scores, spec, [{}] * len(scores), BASELINE.value)
        write_rows(out / rows_name(plan, "throughput"), rows, "throughput", config)


if __name__ == "__main__":
    commands.run(main, parse_flags)
