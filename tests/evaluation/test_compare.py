"""Which row is compared with which, and what the tables say."""

import csv
import io

import numpy as np
import pytest

from renyi_jax.errors import UserError
from renyi_jax.evaluation.compare import Baseline, Runs, compare, merge_runs
from renyi_jax.evaluation.tables import to_csv, to_markdown
from renyi_jax.pruning.sweep import UNPRUNED

PLAIN = UNPRUNED


def row(criterion, alpha=None, keep_rate=0.7, reducer="drop", **fields):
    setting = {"criterion": criterion, "reducer": reducer, "alpha": alpha, "keep_rate": keep_rate}
    return {**UNPRUNED, **setting, "blocks": [4, 7], "reverse": False, **fields}


ROWS = [
    row("renyi", 1.0),
    row("renyi", "inf"),
    row("renyi", 1.0, 0.5),
    row("cls_attention"),
    row("cls_attention", keep_rate=0.5),
    row("cls_attention", keep_rate=0.5, reducer="fuse"),
    PLAIN,
]


@pytest.mark.parametrize(
    ("baseline", "against"),
    [
        ("none", [6, 6, 6, 6, 6, 6, None]),
        ("cls_attention", [3, 3, 4, None, None, None, None]),
        ("renyi:1", [None, 0, None, 0, 2, 2, None]),
        ("renyi:inf", [1, None, None, 1, None, None, None]),
    ],
)
def test_a_row_is_compared_with_the_baseline_at_its_keep_rate(baseline, against):
    assert [Baseline.parse(baseline).of(each, ROWS) for each in ROWS] == against


def test_a_row_is_compared_with_the_baseline_in_its_blocks_and_the_first_of_several():
    rows = [
        row(["renyi", "random"], 1.0),
        row(["renyi", "random"], 1.0, reverse=True),
        row(["renyi", "random"], 1.0, blocks=[3, 6]),
        row("random", blocks=[3, 6]),
        row("random", blocks=[2, 5]),
    ]
    baseline = Baseline.parse("renyi/random")
    assert [baseline.of(each, rows) for each in rows] == [None, 0, None, 2, 0]


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        ("cls_atention", "Did you mean 'cls_attention'"),
        ("renyi", "several alphas; name one, as in renyi:1"),
        ("renyi:3", "not among what is evaluated"),
        ("renyi:two", "expected CRITERION or CRITERION:ALPHA"),
    ],
)
def test_a_baseline_that_names_no_row_is_refused_in_words(baseline, message):
    with pytest.raises(UserError, match=message):
        Baseline.parse(baseline).check(ROWS)


@pytest.fixture(scope="module")
def compared():
    """A row that is as good as the plain model, and one that is worse, in two runs."""
    rng = np.random.default_rng(0)
    plain = rng.random((2, 500)) < 0.8
    equal = plain ^ (rng.random((2, 500)) < np.where(plain, 0.01, 0.04))
    worse = plain & (rng.random((2, 500)) < 0.8)
    measured = {
        "num_examples": 500,
        "top5": 1.0,
        "nll": 1.0,
        "agreement": 0.9,
        "mean_kept": [12.0],
        "gmacs": 1.0,
        "images_per_second": 100.0,
        "peak_memory": None,
        "speedup": 1.5,
    }
    rights = [equal, worse, plain]
    settings = [
        row("renyi", "inf", reverse=True),
        row(["renyi", "random"], keep_rate=[0.9, 0.5]),
        PLAIN,
    ]
    runs = [Runs(right, [0, 1]) for right in rights]
    rows = [
        merge_runs([{**setting, **measured, "top1": float(run.mean())} for run in right], of)
        for setting, right, of in zip(settings, rights, runs)
    ]
    return compare(rows, runs, Baseline("none"))


def test_only_a_real_difference_is_called_real(compared):
    assert [each["real"] for each in compared] == [False, True, None]
    assert compared[1]["difference"] == pytest.approx(compared[1]["top1"] - compared[2]["top1"])
    low, high = compared[1]["difference_interval"]
    assert low < compared[1]["difference"] < high < 0


def test_runs_become_one_row_of_their_means(compared):
    assert [each["num_runs"] for each in compared] == [2, 2, 2]
    low, high = compared[0]["top1_interval"]
    assert low < compared[0]["top1"] < high
    assert compared[0]["mean_kept"] == [12.0] and compared[0]["peak_memory"] is None


def test_a_cell_that_stands_for_several_runs_counts_once():
    rng = np.random.default_rng(0)
    draws, plain = rng.random((3, 200)) < 0.7, rng.random((1, 200)) < 0.8
    runs = [Runs(draws, ["a", "b", "c"]), Runs(plain.repeat(3, axis=0), ["d", "d", "d"])]
    rows = [
        merge_runs(
            [{**row(name), "num_examples": 200, "top1": float(r.mean())} for r in of.right], of
        )
        for name, of in zip(("random", "none"), runs)
    ]
    assert [each["num_runs"] for each in rows] == [3, 1]
    assert rows[0]["top1_std"] == pytest.approx(np.std(draws.mean(axis=1), ddof=1))
    assert rows[1]["top1_std"] is None
    compared, _ = compare(rows, runs, Baseline("none"))
    assert compared["difference"] == pytest.approx(draws.mean() - plain.mean())
    twice = [Runs(each.right[[0, 0]], ["x", "x"]) for each in runs]
    (again, _), (once, _) = (
        compare(rows, some, Baseline("none"))
        for some in (twice, [Runs(each.right[:1], ["x"]) for each in runs])
    )
    assert again == once


def test_the_csv_has_every_field_of_every_row(compared):
    lines = list(csv.DictReader(io.StringIO(to_csv(compared))))
    assert [line["criterion"] for line in lines] == ["renyi", "renyi;random", "none"]
    assert set(lines[0]) == set(compared[0])
    assert lines[1]["keep_rate"] == "0.9;0.5" and lines[2]["difference"] == ""


def test_the_markdown_sets_real_differences_in_bold(compared):
    table = to_markdown(compared, "no pruning").splitlines()
    assert table[2].startswith("| renyi | drop | ∞ | 0.7 | reversed |") and "**" not in table[2]
    assert "**-" in table[3] and "0.9, 0.5" in table[3]
    assert len({line.count("|") for line in table[:5]}) == 1


def test_the_markdown_tells_the_mean_kept_where_images_keep_counts_of_their_own(compared):
    assert "mean kept" not in to_markdown(compared, "no pruning")
    adaptive = [{**compared[0], "keep_mass": 0.9}, *compared[1:]]
    table = to_markdown(adaptive, "no pruning").splitlines()
    assert "| keep rate | mean kept |" in table[0]
    assert "| ≤ 0.7, mass 0.9 | 12.0 |" in table[2]
    assert len({line.count("|") for line in table[:5]}) == 1
