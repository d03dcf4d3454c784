"""How all figures look alike: colours that the colour-blind tell apart, axes, and images."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from renyi_jax.pruning import CRITERIA

# Okabe and Ito's colours, and dark ones of Tol's between them: one for each criterion, and one for
# merging, in an order that those which are compared most differ most.
COLOURS = (
    *("#0072B2", "#D55E00", "#332288", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#4D4D4D", "#882255", "#999933", "#009E73", "#8B5A2B"),
)
MARKERS = "osD^vP<>X"
INK, SOFT, FAINT = "#1f2933", "#52606d", "#dfe4e8"
LINE = {"linewidth": 1.8, "markersize": 7, "markeredgecolor": "white", "markeredgewidth": 0.7}
LINE_STYLES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (9, 2)))
GONE = {"facecolor": "#eef0f2", "edgecolor": "#b9c1c9", "hatch": "//////", "linewidth": 0}
"""Of a patch that was dropped before."""

ENTROPY_MAP = "viridis"
DEPTH_MAP = "cividis"


def text_of(value: Any) -> str:
    """A value in words: "0.7", "∞", "0.7, 0.5", and "–" for none."""
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(text_of, value))
    if value in ("inf", math.inf):
        return "∞"
    return value if isinstance(value, str) else f"{value:g}"


def words(name: str) -> str:
    """The name of a criterion as people read it."""
    return name.replace("_", " ")


def criterion_style(criterion: str, others: Sequence[str] = ()) -> tuple[str, str]:
    """Returns colour and marker of a criterion, which are the same in every figure.

    `others` are names in the figure that are no criteria, in their order.
    """
    names = [*CRITERIA, *others]
    number = names.index(criterion) if criterion in names else len(names)
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def tidy(axes: Axes, x_label: str, y_label: str) -> None:
    """Labels axes, and takes away what is not needed to read them."""
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#9aa5b1")


class Spot(NamedTuple):
    """A marked point of a figure: shares of its width and height from the top left, its text, and
    the name of the table's row that it is of, or None."""

    x: float
    y: float
    text: str
    row: str | None


def row_name(number: int) -> str:
    """Names a row of the table of results on a page."""
    return f"row-{number}"


def mark_spot(axes: Axes, x: int | float, y: int | float, text: str, row: int | None = None):
    """Notes what a point of the axes stands for; a page tells it to those who point there.

    It is an artist that is not drawn, so that it goes wherever the point is moved. `row` is the
    number of the row that the point is of.
    """
    name = None if row is None else row_name(row)
    axes.plot(x, y, gid=text, url=name, visible=False)


def spots(figure: Figure) -> list[Spot]:
    """The marked spots of a figure that was drawn."""
    found = []
    width, height = figure.get_size_inches() * figure.dpi
    for axes in figure.axes:
        for line in axes.get_lines():
            if line.get_gid():
                ((x, y),) = line.get_transform().transform(line.get_xydata())
                place = float(x / width), float(1 - y / height)
                found.append(Spot(*place, str(line.get_gid()), line.get_url()))
    return found


def show(axes: Axes, pixels: Any, title: str, size: tuple[int, int], **colours: Any) -> Any:
    """Draws pixels or patch values over an image of (height, width); returns what a colour bar
    takes."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=9, color=INK, pad=4)
    # As pixels, not as smooth shades, which would hide that a patch has one value.
    options = {"interpolation": "nearest", **colours} if colours else {}
    return axes.imshow(pixels, extent=(0, size[1], size[0], 0), zorder=2, **options)


def legend(figure: Figure) -> None:
    """Below all axes, where it covers nothing; the figure grows by what it takes."""
    labels = [text for axes in figure.axes for text in axes.get_legend_handles_labels()[1]]
    entry = 0.72 + 0.068 * max(map(len, labels), default=0)  # inches, for its line and its letters
    columns = int(min(3, max(1, figure.get_figwidth() // entry)))
    figure.set_figwidth(max(figure.get_figwidth(), entry))
    figure.set_figheight(figure.get_figheight() + 0.19 * max(0, -(-len(labels) // columns) - 3))
    figure.legend(
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        markerscale=0.8,
        handlelength=2.8,  # so long that dashes show beside the marker
    )
