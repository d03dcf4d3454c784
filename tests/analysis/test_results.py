"""What comes out of a results.json: rows that can be drawn, or one sentence."""

import copy
import json
import math
import os
import random

import pytest
from test_figures import ROWS, drawn

from renyi_jax.analysis.comparison import comparison
from renyi_jax.analysis.figures import curves, order_curves
from renyi_jax.analysis.results import MAX_ROWS, read_results
from renyi_jax.errors import UserError

FULL = {
    "criterion": "renyi",
    "reducer": "drop",
    "alpha": 2.0,
    "keep_rate": [0.9, 0.5],
    "keep_mass": 0.9,
    "r": None,
    "blocks": [4, 7],
    "normalize": True,
    "heads": "mean",
    "prefix_keys": False,
    "reverse": False,
    "top1": 0.8,
    "top5": 0.9,
    "nll": 0.7,
    "agreement": 0.95,
    "num_examples": 1000,
    "mean_kept": [130.5, 60.25],
    "kept_on_object": 0.4,
    "gmacs": 3.1,
    "gmacs_padded": 3.2,
    "images_per_second": 120.0,
    "peak_memory": None,
    "top1_interval": [0.78, 0.82],
    "num_runs": 1,
    "difference": -0.007,
    "difference_interval": [-0.02, 0.006],
    "p_value": 0.1,
    "p_corrected": 0.3,
    "real": False,
    "speedup": 1.4,
    "trained": True,
}
PLAIN = {
    **dict.fromkeys(FULL),
    **{"criterion": "none", "keep_rate": 1.0, "keep_mass": 1.0, "mean_kept": [], "speedup": 1.0},
    **{name: FULL[name] for name in ("top1", "top5", "gmacs", "images_per_second", "num_examples")},
    **{"top1_interval": [0.79, 0.83], "num_runs": 1, "agreement": 1.0, "trained": False},
}
RESULTS = {"config": {"seed": 0}, "evaluations": [FULL, PLAIN, FULL | {"alpha": "inf"}]}


def written(folder, text):
    file = folder / "results.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def draw(rows):
    for x in ("gmacs", "images_per_second"):
        drawn(curves(rows, x, "top1"))
    order_curves(rows, "top1")
    assert "".join(comparison(rows))


@pytest.mark.parametrize("evaluations", [RESULTS["evaluations"], ROWS], ids=["evaluate", "older"])
def test_what_commands_write_can_be_read_and_drawn(tmp_path, evaluations):
    file = written(tmp_path, json.dumps({"evaluations": evaluations}))
    rows = read_results(file)
    for row, given in zip(rows, evaluations):
        assert row.items() >= {
            (name, value)
            for name, value in given.items()
            if isinstance(value, (bool, float)) and name != "gmacs_padded"
        }
    draw(rows)


NASTY = (
    *(None, True, [], {}, "", "x", "0.5", "$x^{", "<b>", "\ud800", [[]], [None], {"a": 1}, -1, 2),
    *(0, 1e308, -1e308, 5e-324, 10**400, -(10**400), 1e999, math.nan, [0.1, math.inf], [1, 2, 3]),
    *(["0.5"], [1] * 2000, "inf", [0.9, 0.1], "none", 0.5),
)


def mutate(rng, value):
    """Another value at a random place, a field less, or an item more."""
    if isinstance(value, dict) and value and rng.random() < 0.98:
        name = rng.choice(list(value))
        if rng.random() < 0.1:
            del value[name]
        else:
            value[name] = mutate(rng, value[name])
        return value
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        value[place] = mutate(rng, value[place])
        return value
    return copy.deepcopy(rng.choice(NASTY))


def test_a_damaged_file_is_drawn_or_refused_in_one_sentence(tmp_path):
    rng = random.Random(0)
    refused = accepted = 0
    for number in range(600):
        results = copy.deepcopy(RESULTS)
        del results["config"]
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            results = mutate(rng, results)
        text = json.dumps(results)
        if number % 10 == 0:  # damage to the bytes
            at = rng.randrange(len(text))
            text = text.encode("utf-8", "replace")[:at] + bytes([rng.randrange(256)])
        try:
            rows = read_results(written(tmp_path, text))
        except UserError as error:
            assert str(tmp_path) in str(error) and "\n" not in str(error)
            refused += 1
            continue
        accepted += 1
        if accepted % 8 == 0:  # to draw takes long
            assert "".join(comparison(rows)).encode()
    assert refused > 200 and accepted > 40


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"top1": None}, "row 2: 'top1': expected a number in [0, 1]; got null"),
        ({"top1": math.nan}, "NaN is no number"),
        ({"gmacs": "3.1"}, "row 2: 'gmacs': expected a number in [0, 1e12]; got \"3.1\""),
        ({"images_per_second": [1]}, "row 2: 'images_per_second': expected a number"),
        ({"alpha": 10**400}, "row 2: 'alpha': expected a number in (0, inf], or a list"),
        ({"alpha": 0}, "row 2: 'alpha': expected a number in (0, inf], or a list"),
        ({"keep_rate": {}}, "row 2: 'keep_rate': expected a number in (0, 1], or a list of such"),
        ({"keep_rate": None}, "row 2: expected 'keep_rate' or 'r'"),
        ({"top1_interval": [0.9, 0.1]}, "row 2: 'top1_interval': expected two ends of a range"),
        ({"criterion": "$x"}, "row 2: 'criterion': expected a name"),
    ],
)
def test_a_wrong_field_is_told_with_its_row_and_what_belongs_there(tmp_path, change, words):
    file = written(tmp_path, json.dumps({"evaluations": [FULL, FULL | change]}))
    with pytest.raises(UserError) as told:
        read_results(file)
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no JSON"),
        (b"\xff\xfe\x00", "expected text in UTF-8"),
        ('{"evaluations":' * 100_000, "nested too deeply"),
        ('{"evaluations": ' + "[" * 100_000, "nested too deeply"),
        ("1" * 5000, "is no JSON"),
        ("[]", "expected a list of 1"),
        ("{}", "expected a list of 1"),
        ('{"evaluations": []}', "expected a list of 1"),
        ('{"evaluations": {}}', "expected a list of 1"),
        ('{"evaluations": [7]}', "row 1: expected an object"),
        (json.dumps({"evaluations": [FULL] * (MAX_ROWS + 1)}), "expected a list of 1"),
    ],
)
def test_what_is_no_results_json_is_refused(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        read_results(written(tmp_path, text))


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "absent", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match=r"cannot be read|is a (named pipe|folder)"):
            read_results(path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    text = b"\xef\xbb\xbf" + json.dumps(RESULTS).encode()
    assert len(read_results(written(tmp_path, text))) == 3
