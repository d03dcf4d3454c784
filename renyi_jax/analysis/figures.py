"""The curves over the rows of results.json: from numbers to a matplotlib `Figure`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from renyi_jax.analysis.results import Evaluation, is_plain, trained_row
from renyi_jax.analysis.style import (
    COLOURS,
    INK,
    LINE,
    LINE_STYLES,
    MARKERS,
    SOFT,
    criterion_style,
    legend,
    mark_spot,
    text_of,
    tidy,
    words,
)
from renyi_jax.pruning import CRITERIA
from renyi_jax.pruning.sweep import adapts, option_words, varying_options


class Quantity(NamedTuple):
    """A field of an evaluation as an axis: its label, and the factor to the label's unit."""

    label: str
    factor: float


QUANTITIES = {
    "top1": Quantity("top-1 accuracy (%)", 100),
    "kept_on_object": Quantity("patches left on the object (%)", 100),
    "gmacs": Quantity("multiply-adds per image (G)", 1),
    "images_per_second": Quantity("throughput (images/s)", 1),
}


def curves(evaluations: Sequence[Evaluation], x: str, y: str) -> Figure:
    """Draws `y` over `x`, both of `QUANTITIES`: a line for each criterion, reducer and options.

    At one keep rate the line takes the alpha of the trained setting, or else the first, and a pale
    bar spans all of them. Whiskers show the interval of `y` if rows have one; over multiply-adds,
    equal costs are then drawn a few points apart. A ring marks the trained setting.
    """
    figure, axes = _figure(QUANTITIES[x].label, QUANTITIES[y].label)
    numbers = _numbers(evaluations)
    plain = [row for row in evaluations if is_plain(row)]
    pruned = [row for row in evaluations if not is_plain(row)]
    variant = _variants(pruned)
    groups = _grouped(pruned, lambda row: (text_of(row["criterion"]), variant(row)))
    variants = list(dict.fromkeys(words for _, words in groups))
    mixed = list(dict.fromkeys(name for name, _ in groups if name not in CRITERIA))
    spread = x == "gmacs" and any(f"{y}_interval" in row for row in pruned)
    shifts = dict(zip(groups, _shifts(len(groups)) * spread))
    trained = trained_row(evaluations)
    shift_of_trained = 0.0
    for key, rows in groups.items():
        criterion, words_of_variant = key
        colour, marker = criterion_style(criterion, mixed)
        before = set(axes.get_children())
        line = plain[:1]
        for alternatives in _grouped(rows, lambda row: text_of(row["keep_rate"])).values():
            chosen = _as_trained(alternatives, trained or evaluations[0])
            line = [*line, chosen]
            reached = [_scaled(row, y) for row in alternatives]
            at = _scaled(chosen, x)
            axes.vlines(at, min(reached), max(reached), color=colour, linewidth=7, alpha=0.25)
        line.sort(key=lambda row: -row["gmacs"])
        axes.plot(
            [_scaled(row, x) for row in line],
            [_scaled(row, y) for row in line],
            color=colour,
            marker=marker,
            markevery=[number for number, row in enumerate(line) if not is_plain(row)],
            linestyle=LINE_STYLES[variants.index(words_of_variant) % len(LINE_STYLES)],
            label=", ".join(filter(None, (words(criterion), words_of_variant))),
            **LINE,
        )
        _intervals(axes, [row for row in line if not is_plain(row)], x, y, colour)
        for row in rows:
            text = _tell(row, x, y, variant(row))
            mark_spot(axes, _scaled(row, x), _scaled(row, y), text, numbers[id(row)])
        _move(figure, set(axes.get_children()) - before, shifts[key])
        if any(trained is row for row in rows):
            shift_of_trained = shifts[key]
    if x == "gmacs":
        _mark_keep_rates(axes, evaluations)
    _intervals(axes, plain[:1], x, y, INK)
    for row in plain[:1]:
        at = _scaled(row, x), _scaled(row, y)
        axes.plot(*at, "*", ms=13, color=INK, label="no pruning", zorder=4)
        mark_spot(axes, *at, _tell(row, x, y), numbers[id(row)])
    if trained is not None:
        ring = _ring(axes, _scaled(trained, x), _scaled(trained, y))
        _move(figure, ring, shift_of_trained)
    legend(figure)
    return figure


def order_curves(evaluations: Sequence[Evaluation], y: str) -> Figure | None:
    """`y` over the order alpha, one line for each keep rate; None where no order was swept."""
    numbers = _numbers(evaluations)
    ordered = [row for row in evaluations if isinstance(row["alpha"], int | float | str)]
    variant = _variants(ordered)
    groups = _grouped(
        ordered, lambda row: (text_of(row["criterion"]), text_of(row["keep_rate"]), variant(row))
    )
    groups = {key: rows for key, rows in groups.items() if len(rows) > 1}
    if not groups:
        return None
    # Orders stand side by side, like words: infinity has no place on a number line.
    orders = sorted({float(row["alpha"]) for rows in groups.values() for row in rows})
    figure, axes = _figure("order α of the entropy", QUANTITIES[y].label)
    for number, ((_, rate, words_of_variant), rows) in enumerate(groups.items()):
        rows = sorted(rows, key=lambda row: float(row["alpha"]))
        axes.plot(
            [orders.index(float(row["alpha"])) for row in rows],
            [_scaled(row, y) for row in rows],
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            label=", ".join(filter(None, (f"keep rate {rate}", words_of_variant))),
            **LINE,
        )
        for row in rows:
            at = orders.index(float(row["alpha"])), _scaled(row, y)
            mark_spot(axes, *at, _tell(row, y, y, words_of_variant), numbers[id(row)])
    axes.set_xticks(range(len(orders)), [text_of(order) for order in orders])
    trained = trained_row(evaluations)
    if trained is not None and any(trained is row for rows in groups.values() for row in rows):
        _ring(axes, float(orders.index(float(trained["alpha"]))), _scaled(trained, y))
    legend(figure)
    return figure


def _numbers(evaluations: Sequence[Evaluation]) -> dict[int, int]:
    """Of each row, by its identity: rows may be equal."""
    return {id(row): number for number, row in enumerate(evaluations)}


def _tell(row: Evaluation, x: str, y: str, variant: str = "") -> str:
    """A row in words, with its values of `x` and `y`."""
    if is_plain(row):
        name = ["no pruning"]
    else:
        alpha = "" if row["alpha"] is None else f"α = {text_of(row['alpha'])}"
        rate = "" if row["keep_rate"] is None else f"keep rate {text_of(row['keep_rate'])}"
        name = [words(text_of(row["criterion"])), alpha, rate, variant]
    values = []
    for field in dict.fromkeys((y, x)):
        value = f"{QUANTITIES[field].label}: {_scaled(row, field):.4g}"
        if ends := row.get(f"{field}_interval"):
            low, high = (f"{end * QUANTITIES[field].factor:.4g}" for end in ends)
            value += f" (95 %: {low} to {high})"
        values.append(value)
    return "; ".join([", ".join(filter(None, name)), *values])


def _variants(rows: Sequence[Evaluation]) -> Callable[[Evaluation], str]:
    """Tells in words what a row has beside its criterion, of what the rows differ in."""
    options = varying_options(rows)
    several_reducers = len({text_of(row["reducer"]) for row in rows}) > 1

    def words_of(row: Evaluation) -> str:
        reducer = text_of(row["reducer"]) if several_reducers else ""
        mass = f"mass {text_of(row['keep_mass'])}" if adapts(row) else ""
        return ", ".join(filter(None, (reducer, mass, option_words(row, options))))

    return words_of


def _figure(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 4.1), layout="constrained")
    axes = figure.subplots()
    tidy(axes, x_label, y_label)
    axes.margins(0.08)
    return figure, axes


def _shifts(count: int) -> np.ndarray:
    """Places side by side about 0, in points: 6 apart, or closer where they are many."""
    return (np.arange(count) - (count - 1) / 2) * min(6, 24 / max(1, count - 1))


def _move(figure: Figure, artists: Iterable[Artist], shift: float) -> None:
    """Moves to the right, by points, what has taken its room in the axes already."""
    aside = ScaledTranslation(shift / 72, 0, figure.dpi_scale_trans)
    for artist in artists:
        artist.set_transform(artist.get_transform() + aside)


def _intervals(axes: Axes, rows: Sequence[Evaluation], x: str, y: str, colour: str) -> None:
    """Whiskers for the rows that say how sure they are."""
    for row in rows:
        if low_and_high := row.get(f"{y}_interval"):
            low, high = (end * QUANTITIES[y].factor for end in low_and_high)
            at = _scaled(row, y)
            errors = [[max(0.0, at - low)], [max(0.0, high - at)]]
            style = {"elinewidth": 1.1, "capsize": 3, "capthick": 1.1, "zorder": 1.5}
            axes.errorbar(_scaled(row, x), at, errors, fmt="none", ecolor=colour, **style)


def _ring(axes: Axes, x: float, y: float) -> list[Line2D]:
    """Marks the setting that the model was trained with."""
    style = {"ms": 14, "mfc": "none", "mec": INK, "mew": 1.2, "zorder": 5, "clip_on": False}
    return axes.plot(x, y, "o", label="as trained", **style)


def _mark_keep_rates(axes: Axes, evaluations: Sequence[Evaluation]) -> None:
    """Writes above an axis of multiply-adds the keep rates that they belong to."""
    rated = [row for row in evaluations if row["keep_rate"] is not None]
    groups = _grouped(rated, lambda row: text_of(row["keep_rate"]))
    places = [np.mean([row["gmacs"] for row in rows]) for rows in groups.values()]
    above = axes.secondary_xaxis("top")
    above.set_xticks(places, labels=list(groups), fontsize=9, color=SOFT)
    above.set_xlabel("keep rate", fontsize=9, color=SOFT)
    above.tick_params(length=0)
    above.spines[:].set_visible(False)


def _scaled(row: Evaluation, field: str) -> int | float:
    return row[field] * QUANTITIES[field].factor


def _as_trained(alternatives: Sequence[Evaluation], trained: Evaluation) -> Evaluation:
    same = [row for row in alternatives if row["alpha"] == trained["alpha"]]
    return (same or alternatives)[0]


def _grouped(
    rows: Sequence[Evaluation], key: Callable[[Evaluation], Any]
) -> dict[Any, list[Evaluation]]:
    groups: dict[Any, list[Evaluation]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups
