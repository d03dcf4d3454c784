"""Figures of many patches: how their entropy is spread, and how it goes with distance."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from renyi_jax.analysis.patch_maps import StageMap
from renyi_jax.analysis.readings import AttentionReading, Pixels, prunes_by_score, read_pruning
from renyi_jax.analysis.style import (
    COLOURS,
    DEPTH_MAP,
    FAINT,
    INK,
    LINE,
    SOFT,
    mark_spot,
    text_of,
    tidy,
)
from renyi_jax.models import VisionTransformer
from renyi_jax.pruning import DEFAULT_CRITERION

_KEPT, _DROPPED = COLOURS[0], COLOURS[4]
_BINS = 40

CAPTIONS = {
    "entropy_histograms": "Entropy of the patches that enter each pruned block, and where it is"
    " cut, by order.",
    "entropy_and_distance": "Mean entropy and mean distance of attention, by block and head, and"
    " their correlation.",
}
"""What the figures show, for those who do not see them."""


def attention_figures(
    model: VisionTransformer, pixels: Pixels, reading: AttentionReading, alphas: Sequence[float]
) -> dict[str, Figure]:
    """Draws how entropy is spread over images, if the model is pruned, and its relation to
    distance.

    `reading` is that of the same images without pruning.
    """
    figures = {}
    if model.pruning is not None:
        scored = dataclasses.replace(prunes_by_score(model.pruning), criterion=DEFAULT_CRITERION)
        settings = [dataclasses.replace(scored, alpha=each) for each in alphas]
        by_order = dict(zip(alphas, read_pruning(model, pixels, settings)))
        figures["entropy_histograms"] = entropy_histograms(by_order)
    depth = depth_figure(reading.entropies, reading.distances, alphas)
    return {**figures, "entropy_and_distance": depth}


def entropy_histograms(by_order: Mapping[float, Sequence[Sequence[StageMap]]]) -> Figure:
    """Draws the entropy of the patches in each pruned block, and where it is cut (arXiv 2604.03803,
    figure 5).

    Each image has its own cut: the line is their median, the band their range. `by_order` holds,
    for each order and image, the maps of the pruned blocks.
    """
    orders = list(by_order)
    blocks = [stage.block for stage in by_order[orders[0]][0]]
    figure = Figure(
        figsize=(2.7 * len(blocks) + 0.7, 1.75 * len(orders) + 0.9), layout="constrained"
    )
    grid: np.ndarray = figure.subplots(len(orders), len(blocks), squeeze=False, sharex=True)
    for row, alpha in enumerate(orders):
        for column, block in enumerate(blocks):
            axes = grid[row, column]
            _histogram(axes, [stages[column] for stages in by_order[alpha]])
            tidy(axes, "", "")
            axes.grid(axis="x", visible=False)
            axes.locator_params(axis="y", integer=True)
            if row == 0:
                axes.set_title(f"block {block}", fontsize=10, color=INK)
        grid[row, 0].set_ylabel(f"α = {text_of(alpha)}\npatches", color=INK)
    for axes in grid[-1]:
        axes.set_xlabel("entropy (nats)", color=INK)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    place = {"loc": "outside lower center", "ncols": 4, "frameon": False}
    figure.legend(handles, labels, labelcolor=INK, **place)
    return figure


def _histogram(axes: Axes, stages: Sequence[StageMap]) -> None:
    values = [stage.values[~np.isnan(stage.values)] for stage in stages]
    kept = [stage.values[stage.kept] for stage in stages]
    dropped = [stage.values[~np.isnan(stage.values) & ~stage.kept] for stage in stages]
    edges = np.histogram_bin_edges(np.concatenate(values), _BINS)
    axes.hist(
        [np.concatenate(kept), np.concatenate(dropped)],
        bins=edges.tolist(),
        stacked=True,
        color=[_KEPT, _DROPPED],
        label=["kept", "dropped"],
    )
    cuts = [(k.max() + d.min()) / 2 for k, d in zip(kept, dropped) if k.size and d.size]
    if cuts:
        band = {"color": FAINT, "linewidth": 0, "zorder": 0}
        axes.axvspan(min(cuts), max(cuts), label="range of the cuts", **band)
        axes.axvline(
            float(np.median(cuts)), color=INK, linestyle="--", linewidth=1.4, label="median cut"
        )


def depth_figure(
    entropies: Float[np.ndarray, "orders blocks heads"],
    distances: Float[np.ndarray, "blocks heads"],
    alphas: Sequence[float],
) -> Figure:
    """Draws entropy (nats) against attention distance (pixels), by block and head (arXiv
    2604.03803, figure 7)."""
    columns = 1 + len(alphas)
    figure = Figure(figsize=(2.7 * columns + 0.6, 5.4), layout="constrained")
    grid = figure.add_gridspec(2, columns)
    left = figure.add_subplot(grid[0, 0])
    _by_block(left, distances, "mean attention\ndistance (pixels)")
    left.set_title("distance", fontsize=10, color=INK)
    above = beside = None
    points: Any = None
    panels = []
    numbers = np.broadcast_to(np.arange(1, len(distances) + 1)[:, None], distances.shape)
    for column, (alpha, entropy) in enumerate(zip(alphas, entropies), start=1):
        above = figure.add_subplot(grid[0, column], sharey=above)
        _by_block(above, entropy, "mean entropy (nats)" if column == 1 else "")
        above.set_title(f"entropy, α = {text_of(alpha)}", fontsize=10, color=INK)
        beside = figure.add_subplot(grid[1, column], sharey=beside, sharex=beside)
        points = beside.scatter(
            distances, entropy, c=numbers, cmap=DEPTH_MAP, s=26, edgecolors="white", linewidths=0.5
        )
        for (block, head), nats in np.ndenumerate(entropy):
            where = f"block {block + 1}, head {head + 1}"
            reach = distances[block, head]
            text = f"{where}: {nats:.3g} nats, {reach:.3g} pixels"
            mark_spot(beside, float(reach), float(nats), text)
        tidy(
            beside, "mean attention distance (pixels)", "mean entropy (nats)" if column == 1 else ""
        )
        r = correlation(entropy, distances)
        beside.set_title(f"correlation r = {r:.2f}", fontsize=10, color=INK)
        panels.append(beside)
    bar = figure.colorbar(points, ax=panels, pad=0.01, fraction=0.04)
    bar.set_label("block", color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, colors=INK)
    beneath = figure.add_subplot(grid[1, 0])
    beneath.axis("off")
    handles, labels = left.get_legend_handles_labels()
    beneath.legend(handles, labels, loc="upper center", frameon=False, labelcolor=INK)
    return figure


def correlation(left: Float[np.ndarray, "*n"], right: Float[np.ndarray, "*n"]) -> float:
    """Pearson's, over all values; NaN where one side does not vary."""
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return float("nan")
    return float(np.corrcoef(left.ravel(), right.ravel())[0, 1])


def _by_block(axes: Axes, values: Float[np.ndarray, "blocks heads"], y_label: str) -> None:
    """A dot for each head, and a line through the means."""
    numbers = np.arange(1, len(values) + 1)
    heads = ["one head"] + [None] * (values.shape[1] - 1)
    axes.plot(numbers, values, ".", color=SOFT, markersize=6, alpha=0.7, label=heads)
    axes.plot(numbers, values.mean(axis=1), color=_KEPT, marker="o", label="mean of heads", **LINE)
    for number, mean in zip(numbers.tolist(), values.mean(axis=1).tolist()):
        mark_spot(axes, number, mean, f"block {number}, mean of heads: {mean:.3g}")
    tidy(axes, "block", y_label)
    axes.set_xticks(numbers[:: max(1, len(numbers) // 6)])
