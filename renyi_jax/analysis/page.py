"""The HTML of a page: one file that holds all it shows and asks the network for nothing.

Without JavaScript all of it can be read; `page.js` lets readers ask for values, enlarge figures,
sort tables and move sliders.
"""

import base64
import html
import importlib.resources
import io
import shlex
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from renyi_jax.analysis.patch_maps import GONE_TONES
from renyi_jax.analysis.style import ENTROPY_MAP, Spot, row_name, spots


class Cell(NamedTuple):
    """A cell of a table: its HTML, the value that it is sorted by (None comes last), its
    tooltip.
    """

    content: str
    value: float | str | None
    title: str = ""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole HTML document of parts that are HTML already."""
    assets = importlib.resources.files("renyi_jax.analysis")
    style, script = (assets.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    colours = matplotlib.colormaps[ENTROPY_MAP](np.linspace(0, 1, 33))[:, :3]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>
{style}:root {{ --colours: {", ".join(map(to_hex, colours))}; }}
</style>
</head>
<body>
{_definitions(colours)}
<main>
{"".join(parts)}
</main>
<script>
{script}</script>
</body>
</html>
"""


def _definitions(colours: np.ndarray) -> str:
    """What drawings refer to: the colours of grey levels, and the stripes of dropped patches."""
    channels = "".join(
        f'<feFunc{name} type="table" tableValues="{" ".join(f"{each:.3f}" for each in values)}"/>'
        for name, values in zip("RGB", colours.T)
    )
    stripes = "".join(
        f'<rect x="{number / 2}" width="0.5" height="1" fill="rgb{tone}"/>'
        for number, tone in enumerate(GONE_TONES)
    )
    return (
        '<svg width="0" height="0" style="position:absolute" aria-hidden="true">'
        f'<filter id="colours" color-interpolation-filters="sRGB"><feComponentTransfer>{channels}'
        "</feComponentTransfer></filter>"
        '<pattern id="stripes" width="1" height="1" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45) scale(0.7071)">{stripes}</pattern></svg>'
    )


def tile(name: str, value: str, unit: str, remark: str) -> str:
    """One headline number."""
    return (
        f'<div class="tile"><div class="name">{html.escape(name)}</div>'
        f'<div class="value">{html.escape(value)} <small>{html.escape(unit)}</small></div>'
        f'<div class="remark">{html.escape(remark)}</div></div>\n'
    )


def grid(kind: str, cells: Iterable[str]) -> str:
    """Cells side by side as far as the window is wide; `kind` is "tiles" or "two"."""
    return f'<div class="grid {kind}">\n{"".join(cells)}</div>\n'


def plot(figure: Figure, alt: str) -> str:
    """Returns a figure as SVG within the page, with its marked spots; `alt` describes it."""
    data = base64.b64encode(encode(figure, "svg", transparent=True)).decode()
    # A small figure on a wide page would have larger letters than all others.
    width = round(130 * figure.get_figwidth())
    alt = html.escape(alt)
    marked = "".join(map(_spot, spots(figure)))
    return (
        f'<figure class="box"><div class="medium plot" style="max-width:{width}px">'
        f'<img alt="{alt}" src="data:image/svg+xml;base64,{data}">{marked}</div></figure>\n'
    )


def _spot(spot: Spot) -> str:
    """Leads to its row of the table, where there is one."""
    text = html.escape(spot.text)
    tag, target = ("a", f'href="#{spot.row}"') if spot.row else ("span", 'tabindex="0" role="img"')
    return (
        f'<{tag} class="spot" {target} aria-label="{text}" title="{text}" '
        f'style="left:{100 * spot.x:.2f}%;top:{100 * spot.y:.2f}%"></{tag}>'
    )


def encode(figure: Figure, kind: str, dpi: int = 140, transparent: bool = False) -> bytes:
    """A figure as a file of this kind, "svg" or "png"."""
    drawn = io.BytesIO()
    # Without a salt and with a date, the same numbers would draw another file each time.
    with matplotlib.rc_context({"svg.hashsalt": "renyi_jax"}):
        figure.savefig(
            drawn,
            format=kind,
            dpi=dpi,
            transparent=transparent,
            metadata={"Date": None} if kind == "svg" else {},
        )
    return drawn.getvalue()


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    strong: int | None = None,
    named: bool = False,
) -> str:
    """A table that can be sorted; row `strong` stands out.

    Rows are `named` in the one table of a page to which the spots of its plots lead.
    """

    def line(cells: Sequence[Cell]) -> str:
        return "".join(
            f'<td data-value="{"" if cell.value is None else html.escape(str(cell.value))}"'
            + (f' title="{html.escape(cell.title)}"' if cell.title else "")
            + f">{cell.content}</td>"
            for cell in cells
        )

    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "\n".join(
        f"<tr{f' id={row_name(number)}' if named else ''}"
        f"{' class=strong' if number == strong else ''}>{line(row)}</tr>"
        for number, row in enumerate(rows)
    )
    return (
        f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>\n"
    )


def command(*words: str) -> str:
    """A command line, with a button that copies it."""
    return f'<p class="command"><code>{html.escape(shlex.join(words))}</code></p>\n'
