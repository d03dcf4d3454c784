"""Writes the tables of docs/results.md, and its figures, from the rows in studies/results.

  python -m studies.tables docs/results.md

In the document, what stands between `<!-- rows: FILE -->` and `<!-- end -->` is the table of
studies/results/FILE.json; `<!-- rows: FILE: METHOD; METHOD -->` chooses its rows. Where the
document shows results/FILE.png (`_` for `/`), it is drawn from the same rows, which must be of
top-1.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from renyi_jax.analysis.figures import curves, order_curves

Row = dict[str, Any]
RESULTS = Path(__file__).parent / "results"

_BLOCK = re.compile(
    r"(<!-- rows: (?P<file>[\w/]+)(?:: (?P<methods>.*?))? -->\n).*?(<!-- end -->)", re.S
)
_SCORES = {
    "top1": ("top-1 (%)", 100, 1),
    "probe": ("accuracy of the probe (%)", 100, 1),
    "miou": ("mean IoU of object and background (%)", 100, 1),
    "nll": ("negative log likelihood (nats)", 1, 4),
    "cosine": ("cosine", 1, 3),
}


def main(document: Path) -> None:
    text = document.read_text()
    for file in sorted({match["file"] for match in _BLOCK.finditer(text)}):
        picture = document.parent / "results" / f"{file.replace('/', '_')}.png"
        if f"results/{picture.name}" in text:
            draw(file, picture)
    document.write_text(_BLOCK.sub(_filled, text))


def _filled(match: re.Match) -> str:
    path = RESULTS / f"{match['file']}.json"
    table = table_of(json.loads(path.read_text()), match["methods"]) if path.exists() else ""
    return f"{match[1]}{table}{match[4]}"


def table_of(results: dict[str, Any], methods: str | None = None) -> str:
    """The rows as Markdown: a method a line, a keep rate a column.

    A cell has the score, and in brackets the interval of its difference from the baseline, in
    bold where the paired test finds one at p < 0.05 after Holm's correction.
    """
    rows = [row for row in results["rows"] if row["rate"] < 1]
    rates = sorted({row["rate"] for row in rows}, reverse=True)
    chosen = methods.split("; ") if methods else list(dict.fromkeys(r["method"] for r in rows))
    label, factor, digits = _SCORES[results["score"]]
    plain = next((row for row in results["rows"] if row["rate"] == 1), None)
    lines = [["method", *(f"{rate:g}" for rate in rates)], ["---"] * (1 + len(rates))]
    for method in chosen:
        cells = {row["rate"]: row for row in rows if row["method"] == method}
        lines.append([method, *(_cell(cells.get(rate), factor, digits) for rate in rates)])
    things = "classes" if results["score"] == "cosine" else "images"
    note = f"{label}, {rows[0]['images']:,} {things}"
    if plain:
        low, high = (f"{factor * plain[end]:.{digits}f}" for end in ("low", "high"))
        note += f"; unpruned {factor * plain['score']:.{digits}f} ({low} to {high})"
    if max(row["runs"] for row in rows) > 1:
        note += "; mean of the seeds that are done"
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{note[0].upper()}{note[1:]}.\n"


def _cell(row: Row | None, factor: float, digits: int) -> str:
    if row is None:
        return ""
    score = f"{factor * row['score']:.{digits}f}"
    if "from" not in row:
        ends = (f"{factor * row[end]:.{digits}f}" for end in ("low", "high"))
        return f"{score} ({' to '.join(ends)})"
    low, high = (f"{factor * row[end]:+.{digits}f}" for end in ("from", "to"))
    mark = "**" if row["p_holm"] < 0.05 else ""
    return f"{mark}{score}{mark} [{low}, {high}]"


def draw(file: str, picture: Path) -> None:
    """The curves of a file of top-1 rows: over multiply-adds, or over the order."""
    results = json.loads((RESULTS / f"{file}.json").read_text())
    rows = [
        {
            **row["setting"],
            "top1": row["score"],
            "top1_interval": [row["low"], row["high"]],
            "gmacs": row["gmacs"],
        }
        for row in results["rows"]
    ]
    is_sweep = file.endswith("orders_top1")
    figure = order_curves(rows, "top1") if is_sweep else curves(rows, "gmacs", "top1")
    assert figure is not None
    picture.parent.mkdir(exist_ok=True)
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
