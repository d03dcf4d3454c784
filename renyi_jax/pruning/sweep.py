"""Which prunings are evaluated, and how a row of the results names them."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from renyi_jax.errors import UserError
from renyi_jax.pruning.config import OPTIONS, PruningConfig, own_criteria, to_json

# `config.evaluate`, an ml_collections.ConfigDict.
EvaluateConfig = Any

SWEEP = {
    "blocks": "blocks",
    **{option.sweep: name for name, option in OPTIONS.items() if option.sweep},
}
"""The lists of a sweep, the one that changes slowest first, and the options that they are of."""

UNPRUNED = dict.fromkeys(("blocks", *OPTIONS)) | {
    "criterion": "none",
    "keep_rate": 1.0,
    "keep_mass": 1.0,
}
"""How a row names the plain model, which keep rate 1 is under every criterion."""


def evaluation_settings(
    trained: PruningConfig | None, options: EvaluateConfig
) -> list[PruningConfig | None]:
    """Returns the prunings to evaluate, each once: the trained one, then the sweep; None is none.

    The sweep is every combination of the lists of `SWEEP` in `options`, with all else as in
    `trained`, from which an empty list takes its one value too. What cannot matter is left out:
    keep rate 1 is None, a criterion is evaluated once for all orders and options that it does not
    take, one that is no entropy with fixed keep counts, and a reducer that takes no criterion once
    for all of them. So is, with a word in the log, merging at keep rates below a half, where other
    reducers are swept too.

    Args:
        trained: the model's own pruning; where it has none, `PruningConfig()` lends the rest.

    Raises UserError: a value that `PruningConfig` refuses.
    """
    base = trained or PruningConfig()
    given = {name: field for name, field in SWEEP.items() if options[name]}
    sweep = []
    for values in itertools.product(*(options[name] for name in given)):
        combination = dict(zip(given.values(), values))
        try:
            sweep.append(_combined(base, combination))
        except UserError as error:
            if len(options.reducers) == 1 or not _goes_its_own_way(combination, base):
                raise
            logging.info("Left out of the sweep: %s", error)
    settings = [trained and _canonical(trained), *map(_canonical, sweep)]
    return list(dict.fromkeys(settings))


def program_of(setting: PruningConfig | None) -> PruningConfig | None:
    """Returns what of a setting is compiled: all but alpha, which is a run-time value."""
    return setting and dataclasses.replace(setting, alpha=1.0)


def draws(setting: PruningConfig | None) -> bool:
    """Whether the scores are drawn at random, so that a seed decides the results."""
    return setting is not None and any(stage.needs().draws for stage in setting.stages)


def describe(setting: PruningConfig | None) -> dict[str, Any]:
    """Returns the fields of a row that name its setting, as JSON holds them.

    Values that differ from block to block are lists; an infinite alpha is "inf". None stands where
    an option makes no difference.
    """
    if setting is None:
        return dict(UNPRUNED)
    told = {
        name: to_json(getattr(setting, name)) if setting.matters(name) else None for name in OPTIONS
    }
    return {"blocks": list(setting.blocks), **told}


_WORDS = {"blocks": "blocks"} | {
    name: option.word for name, option in OPTIONS.items() if option.word
}


def varying_options(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the options without a column that the rows differ in."""
    return [name for name in _WORDS if len({str(row.get(name)) for row in rows} - {"None"}) > 1]


def option_words(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Returns the named options of a row in words; those that are as by default need none."""
    defaults = {name: option.field.default for name, option in OPTIONS.items()}
    said = (name for name in names if row.get(name) not in (None, defaults.get(name)))
    return ", ".join(
        f"{_WORDS[name]} {', '.join(map(str, row[name]))}"
        if isinstance(row[name], list)
        else str(_WORDS[name])
        for name in said
    )


def keep_words(row: Mapping[str, Any]) -> str:
    """Returns how much a row keeps: its keep rate, the mass under that rate, or the merges."""
    if row.get("r") is not None:
        return f"r = {_words(row['r'])}"
    mass = _words(row.get("keep_mass", 1.0))
    rate = _words(row["keep_rate"])
    return rate if mass == "1" else f"≤ {rate}, mass {mass}"


def adapts(row: Mapping[str, Any]) -> bool:
    """Whether the images of a row keep as many patches as each of them needs."""
    return _words(row.get("keep_mass", 1.0)) != "1"


def kept_words(row: Mapping[str, Any]) -> str:
    """Returns the patches that leave each pruned block, mean over the images."""
    return ", ".join(f"{count:.1f}" for count in row["mean_kept"]) or "–"


def _words(value: Any) -> str:
    if value is None:  # of one block among several
        return "–"
    return ", ".join(map(_words, value)) if isinstance(value, list) else f"{value:g}"


def _goes_its_own_way(values: Mapping[str, Any], base: PruningConfig) -> bool:
    """Whether no block's reducer takes a criterion."""
    return all(own_criteria(values.get("reducer", base.reducer)))


def _combined(base: PruningConfig, values: Mapping[str, Any]) -> PruningConfig:
    """One combination of the sweep, without what its reducer and its criterion cannot use."""
    values = dict(values)
    mass = values.pop("keep_mass", base.keep_mass)
    if _goes_its_own_way(values, base):
        values = values | {"criterion": None, "reverse": False}
        mass = 1.0
    fixed = base.changed(**values, keep_mass=1.0)
    adapted = all(stage.can_adapt for stage in fixed.stages)
    return fixed.changed(keep_mass=mass) if adapted else fixed


def _canonical(setting: PruningConfig) -> PruningConfig | None:
    """Equal for settings that compute the same."""
    if setting.changes_nothing:
        return None
    idle = [name for name in OPTIONS if not setting.matters(name)]
    plain = {name: 1.0 if name == "alpha" else OPTIONS[name].field.default for name in idle}
    return dataclasses.replace(setting, **plain)
