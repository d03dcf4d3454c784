"""Figures: pure functions from numbers to a matplotlib `Figure`, which the caller saves."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from renyi_jax.analysis.patch_maps import StageMap, grey_out
from renyi_jax.pruning import CRITERIA

# One row of results.json.
Evaluation = dict[str, Any]

# Okabe and Ito's colours, which the colour-blind tell apart, in an order that neighbours differ.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
_MARKERS = "osD^vP<>X"
_INK, _SOFT, _FAINT = "#1f2933", "#52606d", "#dfe4e8"
_GONE = {"facecolor": "#eef0f2", "edgecolor": "#b9c1c9", "hatch": "//////", "linewidth": 0}
_LINE = {"linewidth": 1.8, "markersize": 7, "markeredgecolor": "white", "markeredgewidth": 0.7}


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


def is_plain(row: Evaluation) -> bool:
    """Whether a row is of the model without pruning."""
    return row["criterion"] == "none"


def curves(evaluations: Sequence[Evaluation], x: str, y: str) -> Figure:
    """`y` over `x`: one line for each criterion and reducer, from the plain model on.

    Of several alphas at one keep rate, the line takes the one of the first evaluation (the trained
    one) or else the first that comes, and a pale bar spans what all of them reach.

    Args:
        evaluations: rows of results.json, the trained setting first.
        x: a name in `QUANTITIES`.
        y: another.
    """
    figure, axes = _figure(QUANTITIES[x].label, QUANTITIES[y].label)
    plain = [row for row in evaluations if is_plain(row)]
    pruned = [row for row in evaluations if not is_plain(row)]
    groups = _grouped(pruned, lambda row: (text_of(row["criterion"]), row["reducer"]))
    several_reducers = len({row["reducer"] for row in pruned}) > 1
    for (criterion, reducer), rows in groups.items():
        colour, marker = _style(criterion)
        line = plain[:1]
        for alternatives in _grouped(rows, lambda row: text_of(row["keep_rate"])).values():
            chosen = _as_trained(alternatives, evaluations[0])
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
            linestyle="-" if reducer == "drop" else "--",
            label=_words(criterion) + (f", {reducer}" if several_reducers else ""),
            **_LINE,
        )
    if x == "gmacs":
        _mark_keep_rates(axes, evaluations)
    for row in plain[:1]:
        at = _scaled(row, x), _scaled(row, y)
        axes.plot(*at, "*", ms=13, color=_INK, label="no pruning", zorder=4)
    _ring(axes, _scaled(evaluations[0], x), _scaled(evaluations[0], y))
    _legend(figure)
    return figure


def order_curves(evaluations: Sequence[Evaluation], y: str) -> Figure | None:
    """`y` over the order alpha, one line for each keep rate; None where no order was swept."""
    ordered = [row for row in evaluations if isinstance(row["alpha"], float | str)]
    groups = _grouped(
        ordered, lambda row: (text_of(row["criterion"]), row["reducer"], text_of(row["keep_rate"]))
    )
    groups = {key: rows for key, rows in groups.items() if len(rows) > 1}
    if not groups:
        return None
    # Orders stand side by side, like words: infinity has no place on a number line.
    orders = sorted({float(row["alpha"]) for rows in groups.values() for row in rows})
    figure, axes = _figure("order α of the entropy", QUANTITIES[y].label)
    several_reducers = len({reducer for _, reducer, _ in groups}) > 1
    for number, ((_, reducer, rate), rows) in enumerate(groups.items()):
        rows = sorted(rows, key=lambda row: float(row["alpha"]))
        axes.plot(
            [orders.index(float(row["alpha"])) for row in rows],
            [_scaled(row, y) for row in rows],
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            label=f"keep rate {rate}" + (f", {reducer}" if several_reducers else ""),
            **_LINE,
        )
    axes.set_xticks(range(len(orders)), [text_of(order) for order in orders])
    trained = evaluations[0]
    if any(trained is row for rows in groups.values() for row in rows):
        _ring(axes, float(orders.index(float(trained["alpha"]))), _scaled(trained, y))
    _legend(figure)
    return figure


def pruning_panels(
    image: UInt8[np.ndarray, "height width 3"],
    stages: Sequence[StageMap],
    limits: Sequence[tuple[float, float]],
    on_object: Bool[np.ndarray, "rows columns"] | None = None,
) -> Figure:
    """One image on its way through the pruned blocks.

    Above, the image and what each block judged its patches by, hatched where a patch was gone
    already; below, the patches on the object and those that each block kept, the others greyed out.

    Args:
        image: as it was before normalisation.
        stages: the pruned blocks, in order.
        limits: the lowest and the highest colour of each.
        on_object: the patches that lie on the labelled object, where it is known.
    """
    height, width, _ = image.shape
    columns = 1 + len(stages)
    side = 1.4 * height / width
    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.02, wspace=0, hspace=0)
    figure = Figure(figsize=(1.4 * columns, 2 * side + 0.9), layout=layout)
    grid: np.ndarray = figure.subplots(
        3, columns, squeeze=False, gridspec_kw={"height_ratios": (side, 0.07, side)}
    )

    def show(axes: Axes, pixels: Any, title: str, **colours: Any) -> Any:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_title(title, fontsize=9, color=_INK, pad=4)
        return axes.imshow(pixels, extent=(0, width, height, 0), zorder=2, **colours)

    show(grid[0, 0], image, "image")
    grid[1, 0].axis("off")
    if on_object is None:
        grid[2, 0].axis("off")
    else:
        show(grid[2, 0], grey_out(image, on_object), f"{on_object.sum()} on the object")
    for column, (stage, (low, high)) in enumerate(zip(stages, limits), start=1):
        above, bar, below = grid[:, column]
        values = np.ma.masked_invalid(stage.values)
        colours = show(above, values, f"block {stage.block}", vmin=low, vmax=high, cmap="viridis")
        above.add_patch(Rectangle((0, 0), width, height, **_GONE))
        figure.colorbar(colours, cax=bar, orientation="horizontal").outline.set_visible(False)
        bar.set_xticks([low, high], labels=[f"{low:.2f}", f"{high:.2f}"], fontsize=8, color=_INK)
        for label, side_of_bar in zip(bar.get_xticklabels(), ("left", "right")):
            label.set_horizontalalignment(side_of_bar)
        bar.tick_params(length=0, pad=2)
        bar.set_xlabel(stage.quantity, fontsize=8, color=_INK, labelpad=0)
        show(below, grey_out(image, stage.kept), f"{stage.kept.sum()} of {stage.kept.size} left")
    return figure


def text_of(value: Any) -> str:
    """A value of a row in words: "0.7", "∞", "0.7, 0.5", and "–" for none."""
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(text_of, value))
    if value in ("inf", math.inf):
        return "∞"
    return value if isinstance(value, str) else f"{value:g}"


def _figure(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 4.1), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.grid(color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(0.08)
    axes.tick_params(colors=_INK, length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#9aa5b1")
    return figure, axes


def _ring(axes: Axes, x: float, y: float) -> None:
    """Marks the setting that the model was trained with."""
    axes.plot(
        x, y, "o", ms=14, mfc="none", mec=_INK, mew=1.2, label="as trained", zorder=5, clip_on=False
    )


def _mark_keep_rates(axes: Axes, evaluations: Sequence[Evaluation]) -> None:
    """Writes above an axis of multiply-adds the keep rates that they belong to."""
    groups = _grouped(evaluations, lambda row: text_of(row["keep_rate"]))
    places = [np.mean([row["gmacs"] for row in rows]) for rows in groups.values()]
    above = axes.secondary_xaxis("top")
    above.set_xticks(places, labels=list(groups), fontsize=9, color=_SOFT)
    above.set_xlabel("keep rate", fontsize=9, color=_SOFT)
    above.tick_params(length=0)
    above.spines[:].set_visible(False)


def _legend(figure: Figure) -> None:
    figure.legend(
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
        markerscale=0.8,
    )


def _style(criterion: str) -> tuple[str, str]:
    """A criterion looks the same in every figure, whichever others are in it."""
    names = list(CRITERIA)
    number = names.index(criterion) if criterion in names else len(names)
    return _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _scaled(row: Evaluation, field: str) -> float:
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
