"""Several runs of each setting as one row, and each row against a named baseline."""

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from renyi_jax.common.statistics import holm, interval, paired_p_value
from renyi_jax.errors import UserError, nearest
from renyi_jax.pruning.sweep import UNPRUNED

Row = dict[str, Any]

LEVEL = 0.05


class Baseline(NamedTuple):
    """Which rows others are compared with."""

    criterion: str  # with slashes between blocks; "none" is the plain model, whatever the keep rate
    alpha: float | None = None  # its order, where several were swept

    @classmethod
    def parse(cls, text: str) -> "Baseline":
        """Reads `CRITERION` or `CRITERION:ALPHA`; raises UserError if alpha is no number."""
        criterion, colon, alpha = text.partition(":")
        try:
            return cls(criterion, float(alpha) if colon else None)
        except ValueError:
            raise UserError(
                f"--baseline={text}: expected CRITERION or CRITERION:ALPHA, such as renyi:2."
            ) from None

    def of(self, row: Row, rows: Sequence[Row]) -> int | None:
        """Returns the index of the row that `row` is compared with; None for a baseline itself.

        It is the first with the same keep rate and, where there are such, blocks and reducer.
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
                f"--baseline: {self.criterion!r} is not among what is evaluated:"
                f" {', '.join(dict.fromkeys(known))}.{nearest(self.criterion, known)}"
            )
        if len({str(row["alpha"]) for row in fits}) > 1:
            raise UserError(
                f"--baseline: {self.criterion!r} is evaluated at several alphas; name one, as in"
                f" {self.criterion}:{fits[0]['alpha']}."
            )

    def _names(self, row: Row) -> bool:
        if _name(row) != self.criterion:
            return False
        return self.alpha is None or float(row["alpha"] or math.nan) == self.alpha


NO_PRUNING = Baseline("none")


def _name(row: Row) -> str:
    criterion = row["criterion"]
    return criterion if isinstance(criterion, str) else "/".join(criterion)


class Runs(NamedTuple):
    """Which images the runs of one setting get right, and the names of what each run evaluated.

    The same name twice counts once: a seed makes no difference to a setting that draws nothing.
    """

    right: Bool[np.ndarray, "runs images"]
    names: Sequence[Hashable]

    def distinct(self, *others: "Runs") -> list[int]:
        """The runs that differ from one another, here or in `others`."""
        names = zip(self.names, *(other.names for other in others))
        return sorted({name: number for number, name in enumerate(names)}.values())


def merge_runs(rows: Sequence[Row], runs: Runs) -> Row:
    """Returns one row of one setting's runs: the mean of each field over the distinct ones, their
    number `num_runs`, `top1_interval` (95 %, by bootstrap), and `top1_std` between them (None for
    one).
    """
    distinct = runs.distinct()
    rows, right = [rows[number] for number in distinct], runs.right[distinct]
    means = {
        name: value if name in UNPRUNED else _mean([row[name] for row in rows])
        for name, value in rows[0].items()
    }
    means["num_examples"] = rows[0]["num_examples"]
    spread = float(right.mean(axis=1).std(ddof=1)) if len(rows) > 1 else None
    return {
        **means,
        "num_runs": len(rows),
        "top1_interval": list(interval(right)),
        "top1_std": spread,
    }


def compare(rows: Sequence[Row], runs: Sequence[Runs], baseline: Baseline) -> list[Row]:
    """Compares the top-1 of each row with the baseline's, on the same images and runs.

    Returns each row with `difference`, its 95 % `difference_interval` by bootstrap, `p_value`
    (paired), `p_corrected` (Holm, over all compared rows), and `real`: `p_corrected` below 0.05.
    All are None for a row that is not compared.

    Raises UserError: no row is the baseline's.
    """
    baseline.check(rows)
    pairs = {}
    for number, row in enumerate(rows):
        other = baseline.of(row, rows)
        if other is not None:
            distinct = runs[number].distinct(runs[other])
            pairs[number] = runs[number].right[distinct], runs[other].right[distinct]
    p_values = [paired_p_value(*pair) for pair in pairs.values()]
    result = [{**row, **dict.fromkeys(_COMPARISON)} for row in rows]
    for number, p_value, corrected in zip(pairs, p_values, holm(p_values).tolist()):
        right, of_baseline = pairs[number]
        change = right.astype(np.float64) - of_baseline
        values = (float(change.mean()), list(interval(change)), p_value, corrected)
        result[number] |= dict(zip(_COMPARISON, (*values, corrected < LEVEL)))
    return result


_COMPARISON = ("difference", "difference_interval", "p_value", "p_corrected", "real")


def _mean(values: list[Any]) -> Any:
    if any(value is None for value in values):
        return None
    return np.mean(np.asarray(values, np.float64), axis=0).tolist()
