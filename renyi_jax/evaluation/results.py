"""What an evaluation leaves in its folder: a page, tables, curves, and results.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from renyi_jax.analysis.figures import curves
from renyi_jax.analysis.page import encode
from renyi_jax.analysis.report import write_report
from renyi_jax.common.files import write_bytes, write_text
from renyi_jax.common.progress import phase
from renyi_jax.common.provenance import write_results
from renyi_jax.config import to_json
from renyi_jax.data import Dataset
from renyi_jax.evaluation.compare import Row
from renyi_jax.evaluation.tables import to_csv, to_markdown
from renyi_jax.models import VisionTransformer


def write_evaluation(
    folder: epath.Path,
    rows: Sequence[Row],
    model: VisionTransformer,
    dataset: Dataset,
    config: Any,
    *,
    baseline: str = "none",
    weights: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Writes report/index.html, results.csv, results.md, curves, and last results.json; prints the
    table.

    Args:
        model: its pruning is shown on the first test images.
        baseline: what the rows are compared with, as the user named it.
        weights: where the model's weights are; in `folder` by default.
        more: what else results.json holds.
    """
    table = to_markdown(rows, "no pruning" if baseline == "none" else baseline)
    with phase("Drawing the report"):
        write_report(folder, rows, model, dataset, config, baseline=baseline, weights=weights)
        for x in ("gmacs", "images_per_second"):
            figure = curves(rows, x, "top1")
            for ending in ("png", "svg"):
                write_bytes(folder / f"top1_over_{x}.{ending}", encode(figure, ending, dpi=200))
    write_text(folder / "results.csv", to_csv(rows))
    write_text(folder / "results.md", table)
    results = {"config": to_json(config), "baseline": baseline, "evaluations": rows, **(more or {})}
    write_results(folder / "results.json", results)
    print(table)
