"""The HTML of a report: one page that holds all it shows and asks the network for nothing."""

import base64
import html
import io
from collections.abc import Iterable, Sequence

import matplotlib
from matplotlib.figure import Figure

_STYLE = """
:root { --ink: #1f2933; --soft: #52606d; --line: #dfe4e8; --paper: #fff; --back: #f5f7f8;
        --accent: #0072b2; --good: #00674b; --bad: #a8420a; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
             "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 20px 56px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 12px; letter-spacing: -0.01em; }
h2 { font-size: 1.25rem; margin: 44px 0 6px; }
p { margin: 0 0 12px; max-width: 74ch; }
p.note, figcaption, details { color: var(--soft); font-size: 0.9rem; }
code { font: 0.9em ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.grid { display: grid; gap: 16px; margin-top: 16px; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); }
.two { grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); }
.tile, figure, .table, details { background: var(--paper); border: 1px solid var(--line);
                                 border-radius: 10px; }
.tile { padding: 14px 18px 16px; border-top: 3px solid var(--accent); }
.tile .name { color: var(--soft); font-size: 0.9rem; }
.tile .value { font-size: 1.75rem; font-weight: 650; line-height: 1.3; }
.tile .value small { font-size: 1rem; font-weight: 500; }
.tile .remark { color: var(--soft); font-size: 0.9rem; }
figure { margin: 0; padding: 14px; }
figure img { display: block; width: 100%; height: auto; }
figcaption { margin-bottom: 8px; }
figcaption strong { color: var(--ink); }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
.table { overflow-x: auto; margin-top: 16px; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem;
        font-variant-numeric: tabular-nums; }
th, td { padding: 7px 14px; text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
tbody tr + tr td { border-top: 1px solid var(--line); }
tr.strong td { background: #eaf3f9; font-weight: 600; }
.badge { background: var(--accent); color: #fff; border-radius: 99px; padding: 1px 8px;
         font-size: 0.75rem; margin-left: 6px; }
details { padding: 10px 16px; margin-top: 16px; }
summary { cursor: pointer; }
pre { overflow-x: auto; font-size: 0.82rem; line-height: 1.45; }
footer { margin-top: 40px; color: var(--soft); font-size: 0.85rem; }
@media (max-width: 560px) { main { padding: 24px 12px 40px; } h1 { font-size: 1.5rem; }
                            figure { padding: 8px; } th, td { padding: 6px 9px; } }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole HTML document of parts that are HTML already."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{"".join(parts)}
</main>
</body>
</html>
"""


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


def picture(figure: Figure, alt: str, caption: str = "", vector: bool = True) -> str:
    """A figure within the page, as SVG or, where it holds photographs, as PNG.

    Args:
        figure: what to draw.
        alt: what it shows, for those who do not see it.
        caption: HTML above it.
        vector: SVG or PNG.
    """
    kind, mime = ("svg", "svg+xml") if vector else ("png", "png")
    data = base64.b64encode(encode(figure, kind)).decode()
    above = f"<figcaption>{caption}</figcaption>" if caption else ""
    # A small figure on a wide page would have larger letters than all others.
    width = f"max-width: {round(130 * figure.get_figwidth())}px"
    image = f'<img alt="{html.escape(alt)}" style="{width}" src="data:image/{mime};base64,{data}">'
    return f"<figure>{above}{image}</figure>\n"


def encode(figure: Figure, kind: str, dpi: int = 140) -> bytes:
    """A figure as a file of this kind, "svg" or "png"."""
    drawn = io.BytesIO()
    # Without a salt and with a date, the same numbers would draw another file each time.
    with matplotlib.rc_context({"svg.hashsalt": "renyi_jax"}):
        figure.savefig(
            drawn, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else {}
        )
    return drawn.getvalue()


def table(header: Sequence[str], rows: Iterable[Sequence[str]], strong: int) -> str:
    """A table of cells that are HTML already; row `strong` stands out."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}>{cell}</{tag}>" for cell in cells)

    body = "\n".join(
        f"<tr{' class=strong' if number == strong else ''}>{line(row, 'td')}</tr>"
        for number, row in enumerate(rows)
    )
    return (
        f'<div class="table"><table>\n<thead><tr>{line(header, "th")}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>\n"
    )
