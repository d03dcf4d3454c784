"""The flags that say which entries of which plans a study runs."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from absl import flags

from renyi_jax.errors import UserError, nearest
from renyi_jax.models import ModelSpec
from renyi_jax.models.flops import count_flops
from renyi_jax.pruning import PruningConfig
from studies.plans import CLS, PLAIN, PLANS, Entry, adaptive, in_file, planned

flags.disclaim_key_flags()

FINISHED = flags.DEFINE_bool(
    "finished", False, "Compute nothing: rows of the cells that are there."
)

BASELINE = flags.DEFINE_string("baseline", CLS, "The method that the others are compared with.")

Selection = Iterator[tuple[str, list[Entry], list[Entry]]]


def define_plans() -> Callable[[PruningConfig, ModelSpec], Selection]:
    """Defines --plans, --keep_rates, --planned and --method.

    Returns:
        A function from the base pruning and the model's shape to every plan that was asked for: its
        name, its entries, the unpruned model first, and those of them to compute now. It raises
        UserError for unknown names.
    """
    plans = flags.DEFINE_list("plans", list(PLANS), f"Of {', '.join(PLANS)}.")
    rates = flags.DEFINE_list("keep_rates", None, "Of those of the plans; all by default.")
    folder = flags.DEFINE_string(
        "planned", None, "Folder of plan_RATE.json, or of studies.masses: for planned and adaptive."
    )
    methods = flags.DEFINE_multi_string("method", None, "Beside the baseline; all by default.")

    def is_asked_for(entry: Entry) -> bool:
        if rates.value and entry.rate not in map(float, rates.value):
            return False
        return not methods.value or entry.method in (BASELINE.value, *methods.value)

    def select(base: PruningConfig, spec: ModelSpec) -> Selection:
        for name in plans.value:
            if name not in PLANS:
                raise UserError(f"--plans: there is no {name!r}.{nearest(name, PLANS)}")
            plan: Any = PLANS[name]
            if plan in (planned, adaptive) and folder.value is not None:
                plan = functools.partial(plan, folder=Path(folder.value))
            entries = list(plan(base, lambda pruning: count_flops(spec, pruning)))
            asked = [] if FINISHED.value else [PLAIN, *filter(is_asked_for, entries)]
            yield name, [PLAIN, *entries], asked

    return select


def rows_name(plan: str, score: str) -> str:
    """The file of the rows: what is compared with another baseline lies beside."""
    against = "" if BASELINE.value == CLS else f"_against_{in_file(BASELINE.value)}"
    return f"{plan}_{score}{against}.json"
