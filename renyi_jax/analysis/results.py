"""The rows of a results.json, checked before anything is drawn of them."""

import json
import os
import re
from collections.abc import Sequence
from typing import Any

from renyi_jax.common.fields import Field, flag, integer, number, span
from renyi_jax.common.files import read_text
from renyi_jax.errors import UserError
from renyi_jax.pruning import OPTIONS

# One row of results.json.
Evaluation = dict[str, Any]

MAX_ROWS = 1000


def _name(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[\w ,./+-]{1,80}", value, re.ASCII):
        return value
    raise ValueError


def _list(item: Field) -> Field:
    """A list of what `item` takes."""

    def parse(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError
        return [item.parse(each) for each in value]

    return Field(None, f"a list, each {item.expected}", parse)


def _or_each(item: Field) -> Field:
    """What `item` takes, or a list of it with an entry for each pruned block."""
    several = _list(item)

    def parse(value: Any) -> Any:
        return several.parse(value) if isinstance(value, list) and value else item.parse(value)

    return Field(None, f"{item.expected}, or a list of such", parse)


_SHARE, _CHANGE = number(0.0, "[0, 1]"), number(0.0, "[-1, 1]")
_AMOUNT = number(0.0, "[0, 1e12]")
_COUNT = integer(0, 0)

FIELDS = {
    **{name: _or_each(option.field) for name, option in OPTIONS.items()},
    # Names of criteria and reducers may be others than are known here.
    **{name: _or_each(Field(None, "a name", _name)) for name in ("criterion", "reducer")},
    "blocks": _list(_COUNT),
    "trained": flag(False),
    "top1": _SHARE,
    "top1_interval": span((0.0, 1.0), _SHARE),
    "top5": _SHARE,
    "nll": _AMOUNT,
    "agreement": _SHARE,
    "kept_on_object": _SHARE,
    "mean_kept": _list(_AMOUNT),
    "difference": _CHANGE,
    "difference_interval": span((0.0, 0.0), _CHANGE),
    "p_value": _SHARE,
    "p_corrected": _SHARE,
    "real": flag(False),
    "num_examples": _COUNT,
    "num_runs": _COUNT,
    "gmacs": _AMOUNT,
    "images_per_second": _AMOUNT,
    "speedup": _AMOUNT,
    "peak_memory": number(0.0, "[0, 1e18]"),
}
"""What is known of the fields of a row; a field that is not among them is left alone."""

REQUIRED = ("criterion", "top1", "gmacs", "images_per_second")
"""Without which a row cannot be drawn; other fields may be absent, or null."""


def read_results(path: str | os.PathLike, option: str = "--results") -> list[Evaluation]:
    """Returns the rows of the results.json that `option` names, as `check_row` does.

    Raises UserError: the file cannot be read, or is no results.json of an evaluation.
    """
    text = read_text(option, path)
    try:
        results = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise UserError(f"{path} is nested too deeply; expected a results.json.") from None
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}.") from None
    rows = results.get("evaluations") if isinstance(results, dict) else None
    if not isinstance(rows, list) or not 0 < len(rows) <= MAX_ROWS:
        raise UserError(
            f"{path}: expected a list of 1 to {MAX_ROWS} rows under 'evaluations', as"
            " renyi_jax.main and renyi_jax.evaluate write it."
        )
    return [check_row(row, f"{path}, row {place}") for place, row in enumerate(rows, start=1)]


def check_row(row: Any, place: str) -> Evaluation:
    """Returns the fields of a row that have a value, parsed as in `FIELDS`.

    Raises UserError: a field has another value; `place` says where the row stands.
    """
    if not isinstance(row, dict):
        raise UserError(f"{place}: expected an object with fields, got {_short(row)}.")
    checked: Evaluation = dict.fromkeys(("reducer", "alpha", "keep_rate"))
    for name, value in row.items():
        if value is None or name not in FIELDS:
            continue
        try:
            checked[name] = FIELDS[name].parse(value)
        except (ValueError, TypeError):
            expected = FIELDS[name].expected
            raise UserError(
                f"{place}: '{name}': expected {expected}; got {_short(value)}."
            ) from None
    for name in REQUIRED:
        if name not in checked:
            got = "got null" if name in row else "it is missing"
            raise UserError(f"{place}: '{name}': expected {FIELDS[name].expected}; {got}.")
    if not is_plain(checked) and checked["keep_rate"] is None and checked.get("r") is None:
        raise UserError(f"{place}: expected 'keep_rate' or 'r', which say how much is pruned.")
    return checked


def is_plain(row: Evaluation) -> bool:
    """Whether a row is of the model without pruning."""
    return row["criterion"] == "none"


def trained_row(rows: Sequence[Evaluation]) -> Evaluation | None:
    """The row of the pruning that the model was trained with; None where it is not among them.

    Rows that do not say are of an evaluation that has it first.
    """
    return next((row for row in rows if row.get("trained", row is rows[0])), None)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _short(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:40] + "…"
