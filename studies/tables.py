"""Writes the tables of the documents, and draws their figures, from the rows in studies/results.

  python -m studies.tables                     (all of docs/)
  python -m studies.tables docs/results.md ...

In a document, what stands between `<!-- rows: FILE -->` and `<!-- end -->` is the table of
studies/results/FILE.json; `<!-- rows: FILE: METHOD; METHOD -->` chooses its methods. The picture
below `<!-- figure: FILE -->`, or `<!-- figure: FILE: METHOD; METHOD -->`, shows the same rows.
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from renyi_jax.analysis.style import COLOURS, INK, LINE, MARKERS, legend, tidy

Row = dict[str, Any]
RESULTS = Path(__file__).parent / "results"
DOCUMENTS = Path(__file__).parents[1] / "docs"

_OF = r"(?P<file>[\w/]+)(?:: (?P<methods>.*?))? -->\n"
_TABLE = re.compile(rf"(<!-- rows: {_OF}).*?(<!-- end -->)", re.S)
_FIGURE = re.compile(rf"<!-- figure: {_OF}!\[[^\]]*\]\((?P<picture>[^)]+)\)")
_SCORES = {
    "top1": ("top-1 (%)", 100, 1),
    "probe": ("accuracy of the probe (%)", 100, 1),
    "miou": ("mean IoU of object and background (%)", 100, 1),
    "nll": ("negative log likelihood (nats)", 1, 4),
    "cosine": ("cosine", 1, 3),
    "class_cosine": ("cosine", 1, 3),
    "throughput": ("images per second over those of the unpruned model", 1, 2),
}
_THINGS = {"class_cosine": "classes", "throughput": "turns"}


def main(documents: Iterable[Path]) -> None:
    for document in documents:
        text = document.read_text()
        if (filled := filled_in(text)) != text:
            document.write_text(filled)
        for match in _FIGURE.finditer(text):
            figure = drawn(_read(match["file"]), match["methods"])
            figure.savefig(document.parent / match["picture"], dpi=120)


def filled_in(text: str) -> str:
    """A document with its tables as the rows have them now."""
    return _TABLE.sub(
        lambda match: f"{match[1]}{table_of(_read(match['file']), match['methods'])}{match[4]}",
        text,
    )


def _read(file: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{file}.json").read_text())


def table_of(results: dict[str, Any], methods: str | None = None) -> str:
    """The rows as Markdown: a method a line, a keep rate a column.

    A cell has the score, and in brackets the interval of its difference from the baseline, in
    bold where the paired test finds one at p < 0.05 after Holm's correction.
    """
    rows, rates, chosen = _chosen(results, methods)
    label, factor, digits = _SCORES[results["score"]]
    lines = [["method", *(f"{rate:g}" for rate in rates)], ["---"] * (1 + len(rates))]
    for method in chosen:
        cells = {row["rate"]: row for row in rows if row["method"] == method}
        lines.append([method, *(_cell(cells.get(rate), factor, digits) for rate in rates)])
    things = _THINGS.get(results["score"], "images")
    note = f"{label}, {rows[0]['images']:,} {things}"
    if plain := _plain(results):
        note += f"; unpruned {_with_interval(plain, factor, digits)}"
    if plain and plain["runs"] != rows[0]["runs"]:
        note += f" of {_seeds([plain])}"
    if max(row["runs"] for row in rows) > 1:
        note += f"; mean of {_seeds(row for row in rows if row['method'] in chosen)}"
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{note[0].upper()}{note[1:]}.\n"


def _chosen(results: dict[str, Any], methods: str | None) -> tuple[list[Row], list[float], list]:
    """The rows that prune, their rates, and the methods that are asked for."""
    rows = [row for row in results["rows"] if row["rate"] < 1]
    rates = sorted({row["rate"] for row in rows}, reverse=True)
    return rows, rates, methods.split("; ") if methods else list(dict.fromkeys(_names(rows)))


def _names(rows: Iterable[Row]) -> list[str]:
    return [row["method"] for row in rows]


def _plain(results: dict[str, Any]) -> Row | None:
    return next((row for row in results["rows"] if row["rate"] == 1), None)


def _seeds(rows: Iterable[Row]) -> str:
    counts = sorted({row["runs"] for row in rows})
    return f"{' to '.join(map(str, counts[:1] + counts[1:][-1:]))} seed{'s' * (counts[-1] > 1)}"


def _cell(row: Row | None, factor: float, digits: int) -> str:
    if row is None:
        return ""
    if "from" not in row:
        return _with_interval(row, factor, digits)
    low, high = (f"{factor * row[end]:+.{digits}f}" for end in ("from", "to"))
    mark = "**" if row["p_holm"] < 0.05 else ""
    return f"{mark}{factor * row['score']:.{digits}f}{mark} [{low}, {high}]"


def _with_interval(row: Row, factor: float, digits: int) -> str:
    score, low, high = (f"{factor * row[name]:.{digits}f}" for name in ("score", "low", "high"))
    return f"{score} ({low} to {high})"


def drawn(results: dict[str, Any], methods: str | None = None) -> Figure:
    """The scores over the keep rate at whose cost they are compared, with their intervals."""
    rows, rates, chosen = _chosen(results, methods)
    label, factor, _ = _SCORES[results["score"]]
    figure = Figure(figsize=(6.4, 4.1), layout="constrained")
    axes = figure.subplots()
    tidy(axes, "at the multiply-adds of keep rate", label)
    if plain := _plain(results):
        axes.axhline(factor * plain["score"], color=INK, linestyle=":", label="no pruning")
    asides = np.linspace(-0.12, 0.12, len(chosen))
    for method, aside, colour, marker in zip(chosen, asides, COLOURS, MARKERS):
        cells = {row["rate"]: row for row in rows if row["method"] == method}
        places = [place for place, rate in enumerate(rates) if rate in cells]
        score, low, high = (
            np.array([factor * cells[rates[place]][name] for place in places])
            for name in ("score", "low", "high")
        )
        axes.errorbar(
            *(np.array(places) + aside, score, [score - low, high - score]),
            **LINE,
            color=colour,
            marker=marker,
            elinewidth=1,
            capsize=3,
            label=method,
        )
    axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    legend(figure)
    return figure


if __name__ == "__main__":
    main(map(Path, sys.argv[1:]) if sys.argv[1:] else sorted(DOCUMENTS.rglob("*.md")))
