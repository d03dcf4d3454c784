"""Which prunings are evaluated, and how a row of the results names them."""

import dataclasses
import itertools
import math
from typing import Any

from renyi_jax.pruning import CRITERIA, MERGE, PruningConfig
from renyi_jax.pruning.config import PER_BLOCK

# `config.evaluate`, an ml_collections.ConfigDict.
EvaluateConfig = Any

UNPRUNED = {
    "criterion": "none",
    "reducer": None,
    "alpha": None,
    "keep_rate": 1.0,
    "keep_mass": 1.0,
    "r": None,
}
"""How a row names the plain model, which keep rate 1 is under every criterion."""


def evaluation_settings(
    trained: PruningConfig | None, options: EvaluateConfig
) -> list[PruningConfig | None]:
    """The prunings to evaluate, each once: the trained one, then the sweep; None is no pruning.

    The sweep is every combination of `options.keep_rates`, `keep_masses`, `criteria`, `reducers`
    and `alphas`, with all else as in `trained`, from which an empty list takes its one value too.
    What cannot matter is left out: keep rate 1 is None, a criterion without an order is evaluated
    once for all alphas, one that is no entropy with fixed keep counts, and merging, which takes no
    criterion, once for all of them.

    Args:
        trained: the model's own pruning; where it has none, `PruningConfig()` lends the rest.
        options: `config.evaluate`.

    Raises:
        UserError: a value that `PruningConfig` refuses.
    """
    base = trained or PruningConfig()
    combinations = itertools.product(
        options.keep_rates or (base.keep_rate,),
        options.keep_masses or (base.keep_mass,),
        options.criteria or (None if base.reducer == MERGE else base.criterion,),
        options.reducers or (base.reducer,),
        options.alphas or (base.alpha,),
    )
    sweep = [
        _combined(base, rate, mass, criterion, reducer, alpha, bool(options.keep_rates))
        for rate, mass, criterion, reducer, alpha in combinations
    ]
    settings = [trained and _canonical(trained), *map(_canonical, sweep)]
    return list(dict.fromkeys(settings))


def program_of(setting: PruningConfig | None) -> PruningConfig | None:
    """What of a setting is compiled: all but alpha, which is a run-time value."""
    return setting and dataclasses.replace(setting, alpha=1.0)


def describe(setting: PruningConfig | None) -> dict[str, Any]:
    """The fields of a row that name its setting, as JSON holds them.

    Values that differ from block to block are lists; an infinite alpha is "inf"; alpha is None
    where no criterion has an order, and the keep rate where `r` says how many patches go.
    """
    if setting is None:
        return dict(UNPRUNED)
    return {
        "criterion": _plain(setting.criterion),
        "reducer": setting.reducer,
        "alpha": _plain(setting.alpha) if _has_order(setting) else None,
        "keep_rate": _plain(setting.keep_rate) if setting.r is None else None,
        "keep_mass": _plain(setting.keep_mass),
        "r": _plain(setting.r),
    }


def draws(setting: PruningConfig | None) -> bool:
    """Whether the scores are drawn at random, so that a seed decides the results."""
    return setting is not None and any("key" in options for options in _options(setting))


def _combined(base: PruningConfig, rate, mass, criterion, reducer, alpha, sweeps_rates: bool):
    """One combination of the sweep, without what its reducer and its criterion cannot use."""
    merges = reducer == MERGE
    is_entropy = criterion is None or all(
        name in CRITERIA and CRITERIA[name].is_entropy
        for name in (criterion if isinstance(criterion, tuple) else (criterion,))
    )
    return dataclasses.replace(
        base,
        keep_rate=rate,
        keep_mass=mass if reducer == "drop" and is_entropy else 1.0,
        criterion=None if merges else criterion,
        reducer=reducer,
        alpha=alpha,
        r=base.r if merges and not sweeps_rates else None,
    )


def _canonical(setting: PruningConfig) -> PruningConfig | None:
    """Equal for settings that compute the same."""
    if all(stage.changes_nothing for stage in setting.stages().values()):
        return None
    fields = {name: _merged(setting.per_block(name)) for name in PER_BLOCK}
    if not _has_order(setting):
        fields["alpha"] = 1.0
    return dataclasses.replace(setting, **fields)


def _has_order(setting: PruningConfig) -> bool:
    return any("alpha" in options for options in _options(setting))


def _options(setting: PruningConfig) -> list[tuple[str, ...]]:
    names = setting.per_block("criterion")
    return [CRITERIA[name].options for name in names if name in CRITERIA]


def _merged(values: tuple[Any, ...]) -> Any:
    return values[0] if len(set(values)) == 1 else values


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return "inf" if value == math.inf else value
