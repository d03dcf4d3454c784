"""The rows of a results.json, checked before anything is drawn of them."""

import json
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from renyi_jax.errors import UserError
from renyi_jax.files import read_text

# One row of results.json.
Evaluation = dict[str, Any]

MAX_ROWS = 1000
_NAME = re.compile(r"[\w ,./+-]{1,80}", re.ASCII)


class Field(NamedTuple):
    """What a field of a row holds.

    Attributes:
        expected: in words, for people.
        fits: whether a value is so.
        required: whether a row without it cannot be drawn; else it may be absent, or null.
    """

    expected: str
    fits: Callable[[Any], bool]
    required: bool = False


def _number(low: int | float, high: int | float, required: bool = False) -> Field:
    def fits(value: Any) -> bool:
        # A whole number may be too large for a float; comparing it is always possible.
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and low <= value <= high

    return Field(f"a number in [{low:g}, {high:g}]", fits, required)


def _each(field: Field) -> Field:
    """A list with one value for each of some blocks."""

    def fits(value: Any) -> bool:
        return isinstance(value, list) and len(value) <= 1000 and all(map(field.fits, value))

    return Field(f"a list, each {field.expected}", fits, field.required)


def _or_each(field: Field) -> Field:
    """One value for all pruned blocks, or a list with one for each."""
    several = _each(field)

    def fits(value: Any) -> bool:
        return field.fits(value) or (value != [] and several.fits(value))

    return Field(f"{field.expected}, or a list of such", fits, field.required)


def _interval(low: int | float, high: int | float) -> Field:
    end = _number(low, high)

    def fits(value: Any) -> bool:
        is_pair = isinstance(value, list) and len(value) == 2 and all(map(end.fits, value))
        return is_pair and value[0] <= value[1]

    return Field(f"a list of two ascending numbers in [{low:g}, {high:g}]", fits)


_SHARE = _number(0, 1)
_COUNT = Field(
    "a whole number of at least 0", lambda value: type(value) is int and 0 <= value <= 10**12
)
_FLAG = Field("true or false", lambda value: isinstance(value, bool))
_TEXT = Field("a name", lambda value: isinstance(value, str) and _NAME.fullmatch(value) is not None)
_ORDER = Field(
    'a number above 0, or "inf"',
    lambda value: value == "inf" or (_number(0, 1e12).fits(value) and value > 0),
)

FIELDS = {
    "criterion": _or_each(_TEXT._replace(required=True)),
    "reducer": _TEXT,
    "alpha": _or_each(_ORDER),
    "keep_rate": _or_each(_SHARE),
    "keep_mass": _or_each(_SHARE),
    "r": _or_each(_COUNT),
    "blocks": _each(_COUNT),
    "normalize": _FLAG,
    "heads": _TEXT,
    "prefix_keys": _FLAG,
    "reverse": _FLAG,
    "trained": _FLAG,
    "real": _FLAG,
    "num_examples": _COUNT,
    "num_runs": _number(1, 1e6),
    "top1": _number(0, 1, required=True),
    "top1_interval": _interval(0, 1),
    "top5": _SHARE,
    "nll": _number(0, 1e9),
    "agreement": _SHARE,
    "kept_on_object": _SHARE,
    "mean_kept": _each(_number(0, 1e9)),
    "difference": _number(-1, 1),
    "difference_interval": _interval(-1, 1),
    "p_value": _SHARE,
    "p_corrected": _SHARE,
    "gmacs": _number(0, 1e9, required=True),
    "images_per_second": _number(0, 1e9, required=True),
    "speedup": _number(0, 1e6),
    "peak_memory": _number(0, 1e15),
}
"""What is known of the fields of a row; a field that is not among them is left alone."""


def read_results(path: str | os.PathLike, option: str = "--results") -> list[Evaluation]:
    """The rows of a results.json, each field of which is as `FIELDS` has it.

    Of what is null a row has no field, but for `reducer`, `alpha` and `keep_rate`.

    Args:
        path: of the file.
        option: what the user gave it to.

    Raises:
        UserError: the file cannot be read, or is no results.json of an evaluation; says the row
            and the field, and what was expected there.
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
    for number, row in enumerate(rows, start=1):
        check_row(row, f"{path}, row {number}")
    named = dict.fromkeys(("reducer", "alpha", "keep_rate"))
    return [
        named | {name: value for name, value in row.items() if value is not None} for row in rows
    ]


def check_row(row: Any, place: str) -> None:
    """Raises `UserError` where a row is not as `FIELDS` has it; `place` says where it stands."""
    if not isinstance(row, dict):
        raise UserError(f"{place}: expected an object with fields, got {_short(row)}.")
    for name, field in FIELDS.items():
        value = row.get(name)
        if value is None and not field.required:
            continue
        if not field.fits(value):
            got = f"got {_short(value)}" if name in row else "it is missing"
            raise UserError(f"{place}: '{name}': expected {field.expected}; {got}.")
    if not is_plain(row) and row.get("keep_rate") is None and row.get("r") is None:
        raise UserError(f"{place}: expected 'keep_rate' or 'r', which say how much is pruned.")


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
