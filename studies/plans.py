"""What is compared: lists of named prunings, for any model and any blocks.

A plan is a function from a base pruning and its cost to entries. An entry is named by its method
and by the keep rate that it is compared at: whatever its own blocks and rates are, it costs no more
multiply-adds than the drop of patches by `cls_attention` at that rate, but for the scoring.
"""

import bisect
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from renyi_jax.pruning import PruningConfig
from studies.criteria import TRIALS

Cost = Callable[[PruningConfig], int]
CLS = "cls_attention"
RATES = (0.9, 0.7, 0.5, 0.3)


class Entry(NamedTuple):
    """A cell: `method` at the budget of `rate`."""

    method: str
    rate: float
    pruning: PruningConfig | None


PLAIN = Entry("unpruned", 1.0, None)


def baselines(base: PruningConfig, cost: Cost) -> Iterator[Entry]:
    """The table of the reference: what others judge patches by, and entropy of several orders."""
    methods: dict[str, dict[str, Any]] = {
        CLS: {"criterion": CLS},
        "random": {"criterion": "random"},
        f"{CLS}, fuse": {"criterion": CLS, "reducer": "fuse"},
        "received_attention": {"criterion": "received_attention"},
        "sharp_received 2": {"criterion": "sharp_received", "alpha": 2.0},
        "shannon": {"criterion": "shannon"},
        **{f"renyi {order:g}": {"alpha": order} for order in (0.5, 2.0, 4.0, 8.0)},
        "min_entropy": {"criterion": "min_entropy"},
    }
    yield from _each(methods, RATES, base)
    merge = {"merge": {"reducer": "merge", "criterion": None}}
    yield from _each(merge, [rate for rate in RATES if rate >= 0.5], base)


def orders(base: PruningConfig, cost: Cost) -> Iterator[Entry]:
    """The order of the entropy, from near 0 to infinity."""
    alphas = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0, 16.0, math.inf)
    methods = {f"renyi {order:g}": {"alpha": order} for order in alphas}
    yield from _each({CLS: {"criterion": CLS}, **methods}, (0.7, 0.5, 0.3), base)


def depth(base: PruningConfig, cost: Cost) -> Iterator[Entry]:
    """Criteria that change with depth: entropy early, the class token late, and the reverse."""
    methods: dict[str, dict[str, Any]] = {CLS: {"criterion": CLS}}
    stages = len(base.blocks)
    for order in (0.1, 0.25, 0.5, 2.0):
        for early in range(1, stages):
            names = ("renyi",) * early + (CLS,) * (stages - early)
            methods[_in_words(names, order)] = {"criterion": names, "alpha": order}
    names = (CLS,) * (stages - 1) + ("renyi",)
    methods[_in_words(names, 0.5)] = {"criterion": names, "alpha": 0.5}
    yield from _each(methods, (0.7, 0.5, 0.3), base)


def options(base: PruningConfig, cost: Cost) -> Iterator[Entry]:
    """What else can be chosen of the method: one change at a time."""
    methods: dict[str, dict[str, Any]] = {CLS: {"criterion": CLS}}
    for order in (0.5, 2.0):
        name = f"renyi {order:g}"
        methods |= {
            name: {"alpha": order},
            f"{name}, not normalized": {"alpha": order, "normalize": False},
            f"{name}, prefix keys in": {"alpha": order, "prefix_keys": True},
            f"{name}, heads averaged first": {"alpha": order, "heads": "average_first"},
            f"{name}, fuse": {"alpha": order, "reducer": "fuse"},
            f"{name}, high kept": {"alpha": order, "reverse": True},
        }
    yield from _each(methods, (0.7, 0.5), base)


def places(base: PruningConfig, cost: Cost) -> Iterator[Entry]:
    """Other blocks than those of the base, at equal cost."""
    methods: dict[str, dict[str, Any]] = {CLS: {"criterion": CLS}}
    for order in (0.1, 0.25, 0.5):
        early = ("renyi",) + (CLS,) * (len(base.blocks) - 1)
        methods[f"renyi {order:g}"] = {"alpha": order}
        methods[_in_words(early, order)] = {"criterion": early, "alpha": order}
    elsewhere = ((3, 6, 9), (2, 6, 10), (2, 5, 8), (5, 8, 11), (4, 8), (3,), (4,), (5,), (6,))
    for entry in _each(methods, (0.7, 0.5, 0.3), base):
        yield entry
        several = entry.method.endswith(CLS) and entry.method != CLS
        for blocks in elsewhere:
            if len(blocks) == len(base.blocks) or not several:
                yield from _moved(entry, blocks, cost)


def trials(base: PruningConfig, cost: Cost) -> Iterator[Entry]:
    """New criteria, from which one is chosen on images that it is not tested on."""
    methods: dict[str, dict[str, Any]] = {CLS: {"criterion": CLS}}
    unordered = ("max_head_cls_attention", "log_cls_attention", "cls_two_steps")
    for name in (*unordered, "cls_times_received"):
        methods[name] = {"criterion": TRIALS[name]}
    for name in ("sharp_cls_attention", "cls_times_entropy", "cls_rank_entropy", "sharp_votes"):
        for order in (0.5, 2.0):
            methods[f"{name} {order:g}"] = {"criterion": TRIALS[name], "alpha": order}
    methods["received_attention"] = {"criterion": "received_attention"}
    methods["column_norm 2"] = {"criterion": "column_norm", "alpha": 2.0}
    for order in (1.0, 2.0, 4.0):
        trial = TRIALS["sharpest_received"]
        methods[f"sharpest_received {order:g}"] = {"criterion": trial, "alpha": order}
    for order in (0.5, 1.0, 2.0, 4.0, 8.0, math.inf):
        for early in range(1, 1 + len(base.blocks)):
            names = ("sharp_received",) * early + (CLS,) * (len(base.blocks) - early)
            criterion = names[0] if len(set(names)) == 1 else names
            methods[_in_words(names, order)] = {"criterion": criterion, "alpha": order}
    yield from _each(methods, (0.7, 0.5, 0.3), base)


def early(base: PruningConfig, cost: Cost) -> Iterator[Entry]:
    """What can be pruned by in one of the first blocks: the norms of columns beside entropies."""
    methods: dict[str, dict[str, Any]] = {CLS: {"criterion": CLS}}
    for order in (1.0, 2.0, 4.0):
        methods[f"column_norm {order:g}"] = {"criterion": "column_norm", "alpha": order}
    for order in (0.25, 1.0, 2.0):
        methods[f"renyi {order:g}"] = {"alpha": order}
    for entry in _each(methods, (0.7, 0.5), base):
        if entry.method == CLS:
            yield entry
        for block in (1, 2, 3):
            yield from _moved(entry, (block,), cost)


def planned(base: PruningConfig, cost: Cost, folder: Path | None = None) -> Iterator[Entry]:
    """What renyi_jax.plan found at the cost of each rate, beside what is published.

    Args:
        base: as in all plans.
        cost: likewise.
        folder: of the plans, `plan_RATE.json` each; None leaves them out.
    """
    for rate in (0.7, 0.5, 0.3):
        criteria = (CLS, "received_attention", "random")
        methods: dict[str, dict[str, Any]] = {name: {"criterion": name} for name in criteria}
        methods["renyi 2"] = {"alpha": 2.0}
        of_rate = list(_each(methods, (rate,), base))
        yield from of_rate
        most = cost(of_rate[0].pruning) if of_rate[0].pruning else 0
        merge = {"reducer": "merge", "criterion": None, "blocks": tuple(range(1, 13))}
        merged = [
            dataclasses.replace(base, **merge, keep_rate=number / 200) for number in range(101, 200)
        ]
        affordable = [pruning for pruning in merged if cost(pruning) <= most]
        yield Entry("merge in every block", rate, affordable[-1])
        yield from _found(folder, "plan", "planned", rate)


def adaptive(base: PruningConfig, cost: Cost, folder: Path | None = None) -> Iterator[Entry]:
    """Fixed keep counts of an entropy, beside adaptive ones that cost the same in the mean.

    Args:
        base: as in all plans.
        cost: likewise.
        folder: where `studies.masses` put the adaptive ones; None leaves them out.
    """
    methods: dict[str, dict[str, Any]] = {CLS: {"criterion": CLS}, "renyi 2": {"alpha": 2.0}}
    for entry in _each(methods, (0.7, 0.5, 0.3), base):
        yield entry
        yield from _found(folder, in_file(entry.method), f"{entry.method}, adaptive", entry.rate)


def in_file(method: str) -> str:
    """The name of a method within that of a file."""
    return method.replace(" ", "_")


def fine_tuning(
    base: PruningConfig, rates: Sequence[float], cost: Cost, folder: Path | None = None
) -> Iterator[Entry]:
    """What is fine-tuned: the most telling methods, and the plans of a folder as in `planned`."""
    names = ("renyi",) + (CLS,) * (len(base.blocks) - 1)
    methods: dict[str, dict[str, Any]] = {
        CLS: {"criterion": CLS},
        "sharp_received 2": {"criterion": "sharp_received", "alpha": 2.0},
        "renyi 0.25": {"alpha": 0.25},
        "renyi 2": {"alpha": 2.0},
        "renyi 4": {"alpha": 4.0},
        "shannon": {"criterion": "shannon"},
        "random": {"criterion": "random"},
        _in_words(names, 0.25): {"criterion": names, "alpha": 0.25},
    }
    elsewhere = {CLS: (3, 6, 9), "renyi 0.25": (2, 6, 10), _in_words(names, 0.25): (2, 6, 10)}
    for entry in _each(methods, rates, base):
        yield entry
        if entry.method in elsewhere and entry.rate < 1:
            yield from _moved(entry, elsewhere[entry.method], cost)
    for rate in rates:
        yield from _found(folder, "plan", "planned", rate)


def _found(folder: Path | None, start: str, method: str, rate: float) -> Iterator[Entry]:
    if folder is not None and (file := folder / f"{start}_{rate:g}.json").exists():
        yield Entry(method, rate, PruningConfig.load(file))


PLANS = {
    plan.__name__: plan
    for plan in (baselines, orders, depth, options, places, trials, early, planned, adaptive)
}


def at_equal_cost(
    pruning: PruningConfig, blocks: tuple[int, ...], cost: Cost
) -> PruningConfig | None:
    """`pruning` at other blocks, with the highest keep rate that costs no more; None if none does.

    Args:
        pruning: one that costs as much as may be spent.
        blocks: to prune in the place of its own.
        cost: from a pruning to its multiply-adds.
    """
    most = cost(pruning)

    def moved(number: int) -> PruningConfig:
        return dataclasses.replace(pruning, blocks=blocks, keep_rate=number / 200)

    # The cost grows with the rate.
    affordable = bisect.bisect_right(range(1, 200), most, key=lambda number: cost(moved(number)))
    return moved(affordable) if affordable else None


def _moved(entry: Entry, blocks: tuple[int, ...], cost: Cost) -> Iterator[Entry]:
    """The entry at other blocks, if there is one of no more cost."""
    assert entry.pruning is not None
    moved = at_equal_cost(entry.pruning, blocks, cost)
    if moved is not None:
        yield Entry(f"{entry.method} at {', '.join(map(str, blocks))}", entry.rate, moved)


def _each(
    methods: dict[str, dict[str, Any]], rates: Sequence[float], base: PruningConfig
) -> Iterator[Entry]:
    plain = dataclasses.replace(base, criterion="renyi", reducer="drop", alpha=1.0)
    for rate in rates:
        for name, fields in methods.items():
            yield Entry(name, rate, dataclasses.replace(plain, keep_rate=rate, **fields))


def _in_words(names: Sequence[str], order: float) -> str:
    if len(set(names)) == 1:
        names = names[:1]
    return ", ".join(f"{name} {order:g}" if name != CLS else name for name in names)
