"""The rows of an evaluation as CSV for programs and as Markdown for people."""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from renyi_jax.analysis.style import text_of
from renyi_jax.evaluation.compare import Row
from renyi_jax.pruning.sweep import adapts, keep_words, kept_words, option_words, varying_options


def to_csv(rows: Sequence[Row]) -> str:
    """Every field of every row; a list is written `a;b;c`, and what is not known is empty."""

    def cell(value: Any) -> Any:
        return ";".join(map(str, value)) if isinstance(value, list) else value

    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def to_markdown(rows: Sequence[Row], baseline: str) -> str:
    """Returns a table of the rows, and what its columns mean; `baseline` is in words."""
    options = varying_options(rows)
    columns: dict[str, Callable[[Row], str]] = {
        "criterion": lambda row: text_of(row["criterion"]),
        "reducer": lambda row: text_of(row["reducer"]),
        "alpha": lambda row: text_of(row["alpha"]),
        "keep rate": keep_words,
        "mean kept": kept_words,
        "options": lambda row: option_words(row, options) or "–",
        "runs": lambda row: str(row["num_runs"]),
        "top-1 (%)": _accuracy,
        "95 %": lambda row: _range(row["top1_interval"]),
        f"against {baseline}": _difference,
        "top-5 (%)": lambda row: _percent(row["top5"]),
        "NLL": lambda row: _or_dash(row["nll"], 1.0, ".3f"),
        "agreement (%)": lambda row: _percent(row["agreement"]),
        "on object (%)": lambda row: _percent(row["kept_on_object"]),
        "GMACs": lambda row: f"{row['gmacs']:#.3g}",
        "images/s": lambda row: f"{row['images_per_second']:,.1f}",
        "speed-up": lambda row: f"{row['speedup']:.2f}",
        "memory (MB)": lambda row: _or_dash(row["peak_memory"], 1e-6, ",.1f"),
    }
    if not any(map(adapts, rows)):
        del columns["mean kept"]
    if not options:
        del columns["options"]
    if "kept_on_object" not in rows[0]:
        del columns["on object (%)"]
    most = max(row["num_runs"] for row in rows)
    if most == 1:
        del columns["runs"]
    lines = [list(columns), ["---"] * len(columns)]
    lines += [[write(row) for write in columns.values()] for row in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    runs = ", mean over the runs, ± their standard deviation" if most > 1 else ""
    return (
        f"{table}\n\n{rows[0]['num_examples']} test images{runs}. Intervals are 95 %, by bootstrap."
        " A difference in bold is real: its paired test, corrected for the number of rows (Holm),"
        " has p < 0.05. Agreement is with the unpruned model. So is the speed-up, timed in turns"
        " with it; images per second are those of the unpruned model, times the speed-up.\n"
    )


def _accuracy(row: Row) -> str:
    spread = "" if row["top1_std"] is None else f" ± {_percent(row['top1_std'])}"
    return f"{_percent(row['top1'])}{spread}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _range(ends: Sequence[float]) -> str:
    return " to ".join(_percent(end) for end in ends)


def _difference(row: Row) -> str:
    if row["difference"] is None:
        return "–"
    low, high = (f"{100 * end:+.2f}" for end in row["difference_interval"])
    difference = f"{100 * row['difference']:+.2f}"
    mark = "**" if row["real"] else ""
    p_value = f"{row['p_corrected']:.2g}" if row["p_corrected"] >= 1e-4 else "<0.0001"
    return f"{mark}{difference}{mark} ({low} to {high}; p {p_value})"


def _or_dash(value: int | float | None, factor: float, format: str) -> str:
    return "–" if value is None else f"{value * factor:{format}}"
