"""From what was measured to rows: what a method reaches, and how it differs from the baseline."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Shaped

from renyi_jax.config import to_json
from renyi_jax.data import Dataset
from renyi_jax.evaluation.metrics import Outcomes, summarize
from renyi_jax.evaluation.settings import describe
from renyi_jax.evaluation.statistics import holm, interval, paired_p_value
from renyi_jax.files import write_text
from renyi_jax.models import ModelSpec
from renyi_jax.models.flops import count_flops
from studies.plans import CLS, PLAIN, Entry

Row = dict[str, Any]
Scores = Shaped[np.ndarray, "runs images"]


def rows_of(
    entries: Sequence[Entry],
    scores: Sequence[Scores],
    spec: ModelSpec,
    more: Sequence[Mapping[str, float]],
) -> list[Row]:
    """One row for each entry.

    Args:
        entries: those that are `cls_attention` are what others at their rate are compared with.
        scores: of each entry, what each run (a seed of training, say) makes of each image.
        spec: of the model.
        more: further numbers of each entry.

    Returns:
        `score` is the mean, with the ends of its 95 % interval. Rows that are compared have the
        `difference` from the baseline on the same images, its interval, the p-value of the paired
        test, and `p_holm`, which is corrected for the number of comparisons.
    """
    rows = []
    for entry, values, numbers in zip(entries, scores, more):
        low, high = interval(values)
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
    _compare(rows, scores)
    return rows


def accuracy_rows(
    entries: Sequence[Entry],
    outcomes: Sequence[Sequence[Outcomes]],
    spec: ModelSpec,
    dataset: Dataset,
) -> list[Row]:
    """`rows_of` top-1, with the other metrics of `summarize`; `outcomes` has every run of each."""
    plain = outcomes[entries.index(PLAIN)][0] if PLAIN in entries else None
    told = {"num_patches": spec.num_patches, "has_object_masks": dataset.has_object_masks}
    scores, more = [], []
    for runs in outcomes:
        scores.append(np.stack([np.asarray(run.top1) for run in runs]))
        summaries = [summarize(run, plain, **told) for run in runs]
        names = [name for name in _METRICS if name in summaries[0]]
        more.append({name: float(np.mean([each[name] for each in summaries])) for name in names})
    return rows_of(entries, scores, spec, more)


_METRICS = ("top5", "nll", "agreement", "kept_on_object")


def _compare(rows: list[Row], scores: Sequence[Scores]) -> None:
    baseline = {row["rate"]: place for place, row in enumerate(rows) if row["method"] == CLS}
    compared = [
        place
        for place, row in enumerate(rows)
        if row["method"] != CLS
        and row["rate"] in baseline
        and scores[place].shape == scores[baseline[row["rate"]]].shape
    ]
    p_values = []
    for place in compared:
        other = scores[baseline[rows[place]["rate"]]]
        change = scores[place].astype(np.float64) - other
        p_values.append(paired_p_value(scores[place], other))
        low, high = interval(change)
        rows[place] |= {"difference": float(change.mean()), "from": low, "to": high}
    for place, p, corrected in zip(compared, p_values, holm(p_values) if p_values else []):
        rows[place] |= {"p": p, "p_holm": float(corrected)}


def write_rows(path: epath.Path, rows: Sequence[Row], score: str, config: Any) -> None:
    """Writes rows as JSON, one on each line, with what they are of.

    Args:
        path: the file.
        rows: of `rows_of`.
        score: what `score` is: "top1", "cosine" or "probe".
        config: of the run.
    """
    head = json.dumps({"score": score, "config": _portable(to_json(config))})[1:-1]
    lines = ",\n".join(json.dumps(_rounded(row)) for row in rows)
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
