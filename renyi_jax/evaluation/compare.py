"""Several runs of each setting as one row, and each row against a named baseline."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from renyi_jax.errors import UserError, nearest
from renyi_jax.evaluation.settings import UNPRUNED
from renyi_jax.evaluation.statistics import holm, interval, paired_p_value

Row = dict[str, Any]

LEVEL = 0.05


class Baseline(NamedTuple):
    """Which rows others are compared with.

    Attributes:
        criterion: of the baseline, with slashes between the blocks where it changes; "none" is the
            plain model, whatever the keep rate.
        alpha: its order, where several were swept.
    """

    criterion: str
    alpha: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Baseline":
        """Reads `CRITERION` or `CRITERION:ALPHA`.

        Raises:
            UserError: alpha is no number.
        """
        criterion, colon, alpha = text.partition(":")
        try:
            return cls(criterion, float(alpha) if colon else None)
        except ValueError:
            raise UserError(
                f"--baseline={text}: expected CRITERION or CRITERION:ALPHA, such as renyi:2."
            ) from None

    def of(self, row: Row, rows: Sequence[Row]) -> int | None:
        """The place in `rows` of what `row` is compared with; None for a baseline itself.

        It has the row's keep rate, and its blocks and its reducer if those were run; of several,
        the first is taken.
        """
        fits = [number for number, other in enumerate(rows) if self._names(other)]
        if self.criterion != "none":
            fits = [number for number in fits if rows[number]["keep_rate"] == row["keep_rate"]]
            for field in ("blocks", "reducer"):
                alike = [number for number in fits if rows[number][field] == row[field]]
                fits = alike or fits
        return fits[0] if fits and rows[fits[0]] is not row else None

    def check(self, rows: Sequence[Row]) -> None:
        """Raises UserError where no row is of this baseline, or where alpha has to be named."""
        fits = [row for row in rows if self._names(row)]
        if not fits:
            known = [_name(row) for row in rows]
            raise UserError(
                f"The baseline {self.criterion!r} is not among what was evaluated:"
                f" {', '.join(dict.fromkeys(known))}.{nearest(self.criterion, known)}"
            )
        if len({str(row["alpha"]) for row in fits}) > 1:
            raise UserError(
                f"The baseline {self.criterion!r} was evaluated at several alphas; name one, as in"
                f" {self.criterion}:{fits[0]['alpha']}."
            )

    def _names(self, row: Row) -> bool:
        if _name(row) != self.criterion:
            return False
        return self.alpha is None or float(row["alpha"] or math.nan) == self.alpha


def _name(row: Row) -> str:
    criterion = row["criterion"]
    return criterion if isinstance(criterion, str) else "/".join(criterion)


def merge_runs(runs: Sequence[Row], right: Bool[np.ndarray, "runs images"]) -> Row:
    """One row of the same setting's runs: their means, and the interval of top-1.

    Args:
        runs: rows of `measured_row`.
        right: which images each run gets right.

    Returns:
        The fields of the runs, each the mean over them, `top1_interval` (95 %, by bootstrap), and
        `num_runs`.
    """
    means = {
        name: value if name in UNPRUNED else _mean([row[name] for row in runs])
        for name, value in runs[0].items()
    }
    means["num_examples"] = runs[0]["num_examples"]
    return {**means, "top1_interval": list(interval(right)), "num_runs": len(runs)}


def compare(
    rows: Sequence[Row], right: Sequence[Bool[np.ndarray, "runs images"]], baseline: Baseline
) -> list[Row]:
    """The rows, and how their top-1 differs from the baseline's on the same images and runs.

    Returns:
        Each row with `difference` in top-1, its 95 % `difference_interval` by bootstrap, the
        `p_value` of `paired_p_value`, `p_corrected` (Holm, over all rows that are compared), and
        whether the difference is `real`: `p_corrected` below 0.05. All are None for a row that is
        not compared.

    Raises:
        UserError: no row is the baseline's.
    """
    baseline.check(rows)
    against = [baseline.of(row, rows) for row in rows]
    compared = [number for number, other in enumerate(against) if other is not None]
    p_values = {n: paired_p_value(right[n], right[_some(against[n])]) for n in compared}
    corrected = dict(zip(compared, holm([p_values[n] for n in compared]).tolist()))
    result = []
    for number, row in enumerate(rows):
        comparison: Row = dict.fromkeys(
            ("difference", "difference_interval", "p_value", "p_corrected", "real")
        )
        if number in corrected:
            change = right[number].astype(np.float64) - right[_some(against[number])]
            comparison = {
                "difference": float(change.mean()),
                "difference_interval": list(interval(change)),
                "p_value": p_values[number],
                "p_corrected": corrected[number],
                "real": corrected[number] < LEVEL,
            }
        result.append({**row, **comparison})
    return result


def _some(number: int | None) -> int:
    assert number is not None
    return number


def _mean(values: list[Any]) -> Any:
    if any(value is None for value in values):
        return None
    return np.mean(np.asarray(values, np.float64), axis=0).tolist()
