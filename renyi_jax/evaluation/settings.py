"""Which prunings are evaluated, and how a row of the results names them."""

import dataclasses
import itertools
import math
from typing import Any

from renyi_jax.pruning import CRITERIA, PruningConfig

# `config.evaluate`, an ml_collections.ConfigDict.
EvaluateConfig = Any

UNPRUNED = {"criterion": "none", "reducer": None, "alpha": None, "keep_rate": 1.0}
"""How a row names the plain model, which keep rate 1 is under every criterion."""


def evaluation_settings(
    trained: PruningConfig | None, options: EvaluateConfig
) -> list[PruningConfig | None]:
    """The prunings to evaluate, each once: the trained one, then the sweep; None is no pruning.

    The sweep is every combination of `options.keep_rates`, `criteria`, `reducers` and `alphas`,
    with all else as in `trained`, from which an empty list takes its one value too. What cannot
    matter is left out: keep rate 1 is None, and a criterion without an order is evaluated once for
    all alphas.

    Args:
        trained: the model's own pruning; where it has none, `PruningConfig()` lends the rest.
        options: `config.evaluate`.

    Raises:
        UserError: a value that `PruningConfig` refuses.
    """
    base = trained or PruningConfig()
    combinations = itertools.product(
        options.keep_rates or (base.keep_rate,),
        options.criteria or (base.criterion,),
        options.reducers or (base.reducer,),
        options.alphas or (base.alpha,),
    )
    sweep = [
        dataclasses.replace(base, keep_rate=rate, criterion=criterion, reducer=reducer, alpha=alpha)
        for rate, criterion, reducer, alpha in combinations
    ]
    settings = [trained and _canonical(trained), *map(_canonical, sweep)]
    return list(dict.fromkeys(settings))


def program_of(setting: PruningConfig | None) -> PruningConfig | None:
    """What of a setting is compiled: all but alpha, which is a run-time value."""
    return setting and dataclasses.replace(setting, alpha=1.0)


def describe(setting: PruningConfig | None) -> dict[str, Any]:
    """The fields of a row that name its setting, as JSON holds them.

    Values that differ from block to block are lists; an infinite alpha is "inf"; alpha is None
    where no criterion has an order.
    """
    if setting is None:
        return dict(UNPRUNED)
    return {
        "criterion": _plain(setting.criterion),
        "reducer": setting.reducer,
        "alpha": _plain(setting.alpha) if _has_order(setting) else None,
        "keep_rate": _plain(setting.keep_rate),
    }


def _canonical(setting: PruningConfig) -> PruningConfig | None:
    """Equal for settings that compute the same."""
    if all(rate == 1 for rate in setting.per_block("keep_rate")):
        return None
    fields = {name: _merged(setting.per_block(name)) for name in ("criterion", "keep_rate")}
    alpha = _merged(setting.per_block("alpha")) if _has_order(setting) else 1.0
    return dataclasses.replace(setting, alpha=alpha, **fields)


def _has_order(setting: PruningConfig) -> bool:
    return any("alpha" in CRITERIA[name].options for name in setting.per_block("criterion"))


def _merged(values: tuple[Any, ...]) -> Any:
    return values[0] if len(set(values)) == 1 else values


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return "inf" if value == math.inf else value
