"""Figures of one image: what each block makes of its patches, and which of them stay."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from renyi_jax.analysis.patch_maps import StageMap, grey_out
from renyi_jax.analysis.style import ENTROPY_MAP, GONE, INK, show, text_of, words

Picture = UInt8[np.ndarray, "height width 3"]

_MAPS_PER_ROW = 6


def entropy_panels(
    image: Picture, maps: Float[np.ndarray, "orders blocks rows columns"], alphas: Sequence[float]
) -> Figure:
    """Draws the entropy of every patch in every block and order (arXiv 2604.03803, figures 1, 2).

    The blocks of one order share a colour scale. Patches are hatched where `maps` is NaN.
    """
    height, width, _ = image.shape
    num_blocks = maps.shape[1]
    columns = min(_MAPS_PER_ROW, num_blocks)
    rows = math.ceil(num_blocks / columns)
    side = 1.3 * height / width
    # The image stands beside the maps, as high as all their rows where that is not too wide.
    photo = min(rows, 2)
    figure = Figure(
        figsize=(1.3 * (columns + photo) + 0.9, len(alphas) * (rows * (side + 0.25) + 0.35)),
        layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.02, wspace=0, hspace=0),
    )
    bands: Any = figure.subfigures(len(alphas), 1, squeeze=False)
    for band, alpha, blocks in zip(bands[:, 0], alphas, maps):
        band.suptitle(f"Entropy of order α = {text_of(alpha)}", fontsize=11, color=INK)
        grid = band.add_gridspec(rows, columns + 1, width_ratios=(photo, *[1] * columns))
        size = (height, width)
        show(band.add_subplot(grid[:, 0]), image, "image", size)
        low, high = float(np.nanmin(blocks)), float(np.nanmax(blocks))
        panels = []
        for number, values in enumerate(blocks):
            row, column = divmod(number, columns)
            axes = band.add_subplot(grid[row, column + 1])
            colours = _show_values(axes, values, f"block {number + 1}", size, low, high)
            panels.append(axes)
        bar = band.colorbar(colours, ax=panels, aspect=12 * rows, pad=0.01, fraction=0.03)
        bar.outline.set_visible(False)
        bar.set_label("entropy (nats)", fontsize=9, color=INK)
        bar.ax.tick_params(labelsize=8, length=0, colors=INK)
    return figure


def kept_panels(image: Picture, by_criterion: Mapping[str, Sequence[StageMap]]) -> Figure:
    """Draws the patches left after each pruned block, one row for each criterion (figure 4).

    The number left stands above each column, and in every row if criteria differ in it.
    """
    height, width, _ = image.shape
    stages = next(iter(by_criterion.values()))
    rows, columns = len(by_criterion), 1 + len(stages)
    counts = [[int(stage.kept.sum()) for stage in maps] for maps in by_criterion.values()]
    names = [words(criterion).replace(", ", ",\n") for criterion in by_criterion]
    lines = 1 + max(name.count("\n") for name in names)
    differ = any(each != counts[0] for each in counts)
    side = 1.7 * height / width
    figure = Figure(
        figsize=(
            1.7 * columns + 0.1 + 0.2 * lines,
            rows * (side + (0.25 if differ else 0.05)) + 0.35,
        ),
        layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0),
    )
    grid: np.ndarray = figure.subplots(rows, columns, squeeze=False)
    for row, (name, maps) in enumerate(zip(names, by_criterion.values())):
        show(grid[row, 0], image, "image" if row == 0 else "", (height, width))
        grid[row, 0].set_ylabel(name, fontsize=10, color=INK)
        for axes, stage in zip(grid[row, 1:], maps):
            left = f"{stage.kept.sum()} of {stage.kept.size} left"
            title = left if row else f"block {stage.block}: {left}"
            show(
                axes,
                grey_out(image, stage.kept),
                title if differ or row == 0 else "",
                (height, width),
            )
    return figure


def _show_values(axes: Axes, values, title: str, size: tuple[int, int], low: float, high: float):
    """Values of patches as colours, hatched where they are NaN."""
    masked = np.ma.masked_invalid(values)
    if masked.mask.any():
        axes.add_patch(Rectangle((0, 0), size[1], size[0], **GONE))
    return show(axes, masked, title, size, vmin=low, vmax=high, cmap=ENTROPY_MAP)
