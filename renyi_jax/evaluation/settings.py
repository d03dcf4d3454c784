"""Which prunings are evaluated, and how a row of the results names them."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from renyi_jax.pruning import CRITERIA, MERGE, PruningConfig
from renyi_jax.pruning.config import PER_BLOCK

# `config.evaluate`, an ml_collections.ConfigDict.
EvaluateConfig = Any

SWEEP = {
    "keep_rates": "keep_rate",
    "keep_masses": "keep_mass",
    "blocks": "blocks",
    "criteria": "criterion",
    "reducers": "reducer",
    "normalize": "normalize",
    "heads": "heads",
    "prefix_keys": "prefix_keys",
    "reverse": "reverse",
    "alphas": "alpha",
}
"""The lists of a sweep, the one that changes slowest first, and the fields that they are of."""

OPTIONS = ("normalize", "heads", "prefix_keys")
"""Fields that mean something to a criterion only if it takes them."""

UNPRUNED = {
    "criterion": "none",
    "reducer": None,
    "alpha": None,
    "keep_rate": 1.0,
    "keep_mass": 1.0,
    "r": None,
    "blocks": None,
    "normalize": None,
    "heads": None,
    "prefix_keys": None,
    "reverse": None,
}
"""How a row names the plain model, which keep rate 1 is under every criterion."""

_DEFAULT = PruningConfig()


def evaluation_settings(
    trained: PruningConfig | None, options: EvaluateConfig
) -> list[PruningConfig | None]:
    """The prunings to evaluate, each once: the trained one, then the sweep; None is no pruning.

    The sweep is every combination of the lists of `SWEEP` in `options`, with all else as in
    `trained`, from which an empty list takes its one value too. What cannot matter is left out:
    keep rate 1 is None, a criterion is evaluated once for all orders and options that it does not
    take, one that is no entropy with fixed keep counts, and merging, which takes no criterion, once
    for all of them. So is, with a word in the log, merging at keep rates below a half, where other
    reducers are swept too.

    Args:
        trained: the model's own pruning; where it has none, `PruningConfig()` lends the rest.
        options: `config.evaluate`.

    Raises:
        UserError: a value that `PruningConfig` refuses.
    """
    base = trained or PruningConfig()
    lists = [options[name] or (getattr(base, field),) for name, field in SWEEP.items()]
    combinations = [dict(zip(SWEEP.values(), values)) for values in itertools.product(*lists)]
    sweep = [
        _combined(base, values, bool(options.keep_rates))
        for values in combinations
        if not (len(options.reducers) > 1 and _merges_too_much(values))
    ]
    settings = [trained and _canonical(trained), *map(_canonical, sweep)]
    return list(dict.fromkeys(settings))


def program_of(setting: PruningConfig | None) -> PruningConfig | None:
    """What of a setting is compiled: all but alpha, which is a run-time value."""
    return setting and dataclasses.replace(setting, alpha=1.0)


def describe(setting: PruningConfig | None) -> dict[str, Any]:
    """The fields of a row that name its setting, as JSON holds them.

    Values that differ from block to block are lists; an infinite alpha is "inf". None stands where
    a field means nothing: an alpha where no criterion has an order, `normalize`, `heads` and
    `prefix_keys` where none takes them, `reverse` where patches merge, and the keep rate where `r`
    says how many patches go.
    """
    if setting is None:
        return dict(UNPRUNED)
    return {
        "criterion": _plain(setting.criterion),
        "reducer": setting.reducer,
        "alpha": _plain(setting.alpha) if _takes(setting, "alpha") else None,
        "keep_rate": _plain(setting.keep_rate) if setting.r is None else None,
        "keep_mass": _plain(setting.keep_mass),
        "r": _plain(setting.r),
        "blocks": _plain(setting.blocks),
        **{name: getattr(setting, name) if _takes(setting, name) else None for name in OPTIONS},
        "reverse": None if setting.reducer == MERGE else setting.reverse,
    }


def varying_options(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those of blocks, options and `reverse` that the rows differ in."""
    return [
        name
        for name in ("blocks", *OPTIONS, "reverse")
        if len({str(row.get(name)) for row in rows} - {"None"}) > 1
    ]


def keep_words(row: Mapping[str, Any]) -> str:
    """How much a row keeps: its keep rate, the mass under that rate, or the merges of a block."""
    if row.get("r") is not None:
        return f"r = {_words(row['r'])}"
    mass = _words(row.get("keep_mass", 1.0))
    rate = _words(row["keep_rate"])
    return rate if mass == "1" else f"≤ {rate}, mass {mass}"


def adapts(row: Mapping[str, Any]) -> bool:
    """Whether the images of a row keep as many patches as each of them needs."""
    return _words(row.get("keep_mass", 1.0)) != "1"


def kept_words(row: Mapping[str, Any]) -> str:
    """The patches that leave each pruned block, mean over the images."""
    return ", ".join(f"{count:.1f}" for count in row["mean_kept"]) or "–"


def option_words(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """The named options of a row, in words; those that are as by default need none."""
    words = {
        "blocks": lambda blocks: "blocks " + ", ".join(map(str, blocks)),
        "normalize": lambda _: "not normalised",
        "heads": lambda _: "heads averaged first",
        "prefix_keys": lambda _: "with prefix keys",
        "reverse": lambda _: "reversed",
    }
    said = (name for name in names if row.get(name) not in (None, getattr(_DEFAULT, name)))
    return ", ".join(words[name](row[name]) for name in said)


def _words(value: Any) -> str:
    return ", ".join(map(_words, value)) if isinstance(value, list) else f"{value:g}"


def draws(setting: PruningConfig | None) -> bool:
    """Whether the scores are drawn at random, so that a seed decides the results."""
    return setting is not None and _takes(setting, "draws")


def _merges_too_much(values: Mapping[str, Any]) -> bool:
    rate = values["keep_rate"]
    lowest = min(rate) if isinstance(rate, tuple) else rate
    if values["reducer"] != MERGE or lowest >= 0.5:
        return False
    logging.info("No merging at keep rate %s: it leaves at least half of the patches.", rate)
    return True


def _combined(base: PruningConfig, values: Mapping[str, Any], sweeps_rates: bool) -> PruningConfig:
    """One combination of the sweep, without what its reducer and its criterion cannot use."""
    values = dict(values)
    merges = values["reducer"] == MERGE
    if merges or (values["criterion"] == base.criterion and base.reducer == MERGE):
        values["criterion"] = None
    values["reverse"] &= not merges
    if not _can_adapt(values):
        values["keep_mass"] = 1.0
    values["r"] = base.r if merges and not sweeps_rates else None
    return dataclasses.replace(base, **values)


def _can_adapt(values: Mapping[str, Any]) -> bool:
    names = values["criterion"] if isinstance(values["criterion"], tuple) else [values["criterion"]]
    return (
        values["reducer"] != MERGE
        and values["normalize"]
        and not values["prefix_keys"]
        and not values["reverse"]
        and all(name is None or (name in CRITERIA and CRITERIA[name].is_entropy) for name in names)
    )


def _canonical(setting: PruningConfig) -> PruningConfig | None:
    """Equal for settings that compute the same."""
    if all(stage.changes_nothing for stage in setting.stages().values()):
        return None
    fields = {name: _merged(setting.per_block(name)) for name in PER_BLOCK}
    if not _takes(setting, "alpha"):
        fields["alpha"] = 1.0
    fields |= {name: getattr(_DEFAULT, name) for name in OPTIONS if not _takes(setting, name)}
    return dataclasses.replace(setting, **fields)


def _takes(setting: PruningConfig, option: str) -> bool:
    """Whether the criterion of some block takes the option, and it makes a difference."""
    names = setting.per_block("criterion")
    takers = [CRITERIA[name].options for name in names if name in CRITERIA]
    if option == "normalize" and setting.prefix_keys:
        takers = [options for options in takers if "prefix_keys" not in options]
    return any(option in options for options in takers)


def _merged(values: tuple[Any, ...]) -> Any:
    return values[0] if len(set(values)) == 1 else values


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return "inf" if value == math.inf else value
