"""The cells of a study: what `renyi_jax.evaluation.judging` makes of the entries of a plan."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from renyi_jax.common.store import Identity, Store
from renyi_jax.data import Dataset
from renyi_jax.errors import UserError
from renyi_jax.evaluation import judging
from renyi_jax.evaluation.programs import Outcomes, Programs
from renyi_jax.models import ModelSpec, VisionTransformer
from renyi_jax.models.flops import count_flops, mean_flops
from renyi_jax.pruning import PruningConfig
from studies.plans import Entry


def judge(
    model: VisionTransformer,
    dataset: Dataset,
    config: Any,
    entries: Sequence[Entry],
    store: Store,
    reading: judging.Reading = judging.OUTCOMES,
    compute: bool = True,
    names: Sequence[Identity] | None = None,
) -> dict[Entry, Any]:
    """What is read of every test image under every entry; missing cells are left out unless they
    are to be computed. Args and errors: as for `judging.judge`."""
    programs = Programs(model, config.mesh.to_dict(), reading.read)
    settings = [entry.pruning for entry in entries]
    cells = judging.judge(
        *(model, dataset, config, settings, config.seed, store, programs, reading),
        fuses=True,
        compute=compute,
        names=names,
    )
    return {entry: cell for entry, cell in zip(entries, cells) if cell is not None}


MASSES = tuple(number / 20 for number in range(1, 20, 2))
"""Where the mean cost is measured; it is linear between."""

Judge = Callable[[Sequence[Entry]], dict[Entry, Outcomes]]


def at_mean_cost(pruning: PruningConfig, spec: ModelSpec, judge_all: Judge) -> PruningConfig:
    """Returns `pruning` with adaptive counts in the place of its fixed ones, of the same mean cost.

    Args:
        pruning: its keep rate says what may be spent.
        spec: of the model.
        judge_all: from entries to what becomes of every image.

    Raises UserError: none of `MASSES` costs as little, or as much.
    """

    def adapted(mass: float) -> PruningConfig:
        return dataclasses.replace(pruning, keep_rate=1.0, keep_mass=round(mass, 4))

    cells = judge_all([Entry(f"mass {mass}", 1.0, adapted(mass)) for mass in MASSES])
    costs = [mean_flops(spec, entry.pruning, cell.tokens) for entry, cell in cells.items()]
    fixed = count_flops(spec, pruning)
    if not costs[0] <= fixed <= costs[-1]:
        raise UserError(
            f"{pruning} costs {fixed:,} multiply-adds; with keep_mass from {MASSES[0]} to"
            f" {MASSES[-1]} it is {costs[0]:,.0f} to {costs[-1]:,.0f}."
        )
    return adapted(float(np.interp(fixed, costs, MASSES)))
