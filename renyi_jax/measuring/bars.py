"""Figure of the rows that the benchmark measures."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from renyi_jax.measuring.side_by_side import program_name

_OURS, _PEERS, _FAINT = "#0072B2", "#9aa5b1", "#dfe4e8"


def throughput_bars(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draws images per second of every row, a panel for each model, image size and dtype."""
    panels: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        title = f"{row['model']}, {row['image_size']} px, {row['dtype']}, batch {row['batch_size']}"
        panels.setdefault(title, []).append(row)
    heights = [len(panel) for panel in panels.values()]
    figure = Figure(figsize=(6.4, 0.6 * len(panels) + 0.32 * sum(heights)), layout="constrained")
    columns = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for axes, (title, panel) in zip(columns, panels.items()):
        names = [program_name(row) for row in panel]
        bars = axes.barh(
            names,
            [row["images_per_second"] for row in panel],
            color=[_PEERS if row["peer"] else _OURS for row in panel],
        )
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
        axes.invert_yaxis()
        axes.margins(x=0.1)
        axes.set_title(title, fontsize=9, loc="left")
        axes.tick_params(length=0, labelsize=8)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.grid(axis="x", color=_FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
    columns[-1].set_xlabel("images per second")
    return figure
