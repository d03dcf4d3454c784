"""From what was measured to rows: what a method reaches, and how it differs from the baseline."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
from etils import epath
from jaxtyping import Shaped

from renyi_jax.common.files import json_text, write_text
from renyi_jax.common.provenance import made_by
from renyi_jax.common.statistics import holm, interval, paired_p_value
from renyi_jax.config import to_json
from renyi_jax.data import Dataset
from renyi_jax.evaluation.programs import Outcomes, summarize
from renyi_jax.models import ModelSpec
from renyi_jax.models.flops import count_flops, mean_flops
from renyi_jax.pruning.sweep import describe
from studies.plans import CLS, PLAIN, Entry

Row = dict[str, Any]
Scores = Shaped[np.ndarray, "runs images"]


def rows_of(
    entries: Sequence[Entry],
    scores: Sequence[Scores],
    spec: ModelSpec,
    more: Sequence[Mapping[str, float]],
    baseline: str = CLS,
) -> list[Row]:
    """One row for each entry.

    Args:
        entries: what was measured.
        scores: of each entry, what each run (a seed of training, say) makes of each image.
        spec: of the model.
        more: further numbers of each entry.
        baseline: the method that others at the same rate are compared with.

    Returns:
        `score` is the mean, with the ends of its 95 % interval. Rows that are compared have the
        `difference` from the baseline on the same images, its interval, the p-value of the paired
        test, and `p_holm`, which is corrected for the number of comparisons.
    """
    rows = []
    for entry, values, numbers in zip(entries, scores, more):
        low, high = _interval(values)
        rows.append(
            {
                "method": entry.method,
                "rate": entry.rate,
                "score": float(values.mean()),
                "low": low,
                "high": high,
                "gmacs": count_flops(spec, entry.pruning) / 1e9,
                "runs": values.shape[0],
                "images": values.shape[1],
                **numbers,
                "setting": describe(entry.pruning),
                "blocks": entry.pruning and list(entry.pruning.blocks),
            }
        )
    _compare(rows, scores, baseline)
    return rows


def accuracy_rows(
    entries: Sequence[Entry],
    outcomes: Sequence[Sequence[Outcomes]],
    spec: ModelSpec,
    dataset: Dataset,
    score: str = "top1",
    baseline: str = CLS,
) -> list[Row]:
    """`rows_of` a field of the outcomes, with the metrics of `summarize`.

    Args:
        entries: `PLAIN` among them gives the agreement.
        outcomes: of every run of each entry.
        spec: of the model.
        dataset: whose test split was judged.
        score: "top1" or "nll".
        baseline: as in `rows_of`.
    """
    plain = outcomes[entries.index(PLAIN)][0] if PLAIN in entries else None
    told = {"num_patches": spec.num_patches, "has_object_masks": dataset.has_object_masks}
    scores, more = [], []
    for entry, runs in zip(entries, outcomes):
        scores.append(np.stack([np.asarray(getattr(run, score)) for run in runs]))
        summaries = [summarize(run, plain, **told) for run in runs]
        names = [name for name in _METRICS if name in summaries[0]]
        costs = [mean_flops(spec, entry.pruning, run.tokens) for run in runs]
        more.append(
            {name: float(np.mean([each[name] for each in summaries])) for name in names}
            | {"gmacs": float(np.mean(costs)) / 1e9}
        )
    return rows_of(entries, scores, spec, more, baseline)


_METRICS = ("top1", "top5", "nll", "agreement", "kept_on_object")


def _compare(rows: list[Row], scores: Sequence[Scores], baseline: str) -> None:
    against = {row["rate"]: place for place, row in enumerate(rows) if row["method"] == baseline}
    compared = [
        place
        for place, row in enumerate(rows)
        if row["method"] != baseline
        and row["rate"] in against
        and scores[place].shape == scores[against[row["rate"]]].shape
    ]
    p_values = []
    for place in compared:
        other = scores[against[rows[place]["rate"]]]
        change = scores[place].astype(np.float64) - other
        p_values.append(_p_value(scores[place], other))
        low, high = _interval(change)
        rows[place] |= {"difference": float(change.mean()), "from": low, "to": high}
    for place, p, corrected in zip(compared, p_values, holm(p_values) if p_values else []):
        rows[place] |= {"p": p, "p_holm": float(corrected)}


def _interval(values: Scores) -> tuple[float, float]:
    """Of the mean: of shares by bootstrap, of many numbers that all differ by Student's t."""
    if len(np.unique(values)) <= 1 + 2 * len(values):
        return interval(values)
    means = values.mean(axis=0)
    half = scipy.stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / len(means) ** 0.5
    return float(means.mean() - half), float(means.mean() + half)


def _p_value(scores: Scores, other: Scores) -> float:
    """Of right and wrong answers by `paired_p_value`, of numbers by the paired t-test."""
    if scores.dtype == bool:
        return paired_p_value(scores, other)
    test: Any = scipy.stats.ttest_1samp((scores - other).mean(axis=0), 0)
    return float(test.pvalue)


def write_rows(path: epath.Path, rows: Sequence[Row], score: str, config: Any) -> None:
    """Writes rows as JSON, one on each line, with what they are of; none where none is compared.

    Args:
        path: the file.
        rows: of `rows_of`.
        score: what `score` is: "top1", "nll", "cosine", "probe" or "throughput".
        config: of the run.
    """
    if not any("difference" in row for row in rows):
        return
    made = {name: value for name, value in made_by().items() if name != "command"}
    told = {"score": score, "made_by": made, "config": _portable(to_json(config))}
    head = json_text(told)[1:-1]
    lines = ",\n".join(json_text(_rounded(row)) for row in rows)
    write_text(path, f'{{{head},\n"rows": [\n{lines}\n]}}\n')


def _portable(config: dict[str, Any]) -> dict[str, Any]:
    """Without the folders of one machine."""
    data = {**config["data"], "data_dir": "", "manual_dir": ""}
    weights = config["model"]["weights"]
    named = weights if weights.startswith(("embedded:", "hf_hub:")) else ""
    return {**config, "data": data, "model": {**config["model"], "weights": named}}


def _rounded(row: Row) -> Row:
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in row.items()
    }
