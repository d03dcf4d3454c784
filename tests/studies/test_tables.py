"""The tables and figures of the documents, and the rows that they are of."""

import pytest

from studies.tables import DOCUMENTS, drawn, filled_in, table_of


def row(method, rate, score, p=None, runs=2):
    compared = {} if p is None else {"from": -0.05, "to": 0.01, "p_holm": p}
    ends = {"low": score - 0.02, "high": score + 0.01}
    return {"method": method, "rate": rate, "score": score, "runs": runs, "images": 1500} | (
        ends | compared
    )


RESULTS = {
    "score": "top1",
    "rows": [
        row("unpruned", 1.0, 0.9, runs=1),
        row("a", 0.7, 0.8),
        row("b", 0.7, 0.76, p=0.03),
        row("b", 0.5, 0.7, p=0.06),
        row("c", 0.5, 0.6),
    ],
}


@pytest.mark.parametrize("path", sorted(DOCUMENTS.rglob("*.md")), ids=lambda path: path.name)
def test_a_document_has_the_tables_that_the_rows_make_today(path):
    assert filled_in(path.read_text()) == path.read_text()


def test_a_table_has_a_line_for_each_method_and_marks_what_a_test_tells_apart():
    lines = table_of(RESULTS, "a; b").splitlines()
    assert lines[0] == "| method | 0.7 | 0.5 |"
    assert lines[2:4] == [
        "| a | 80.0 (78.0 to 81.0) |  |",
        "| b | **76.0** [-5.0, +1.0] | 70.0 [-5.0, +1.0] |",
    ]
    note = "Top-1 (%), 1,500 images; unpruned 90.0 (88.0 to 91.0) of 1 seed; mean of 2 seeds."
    assert lines[-1] == note


def test_a_figure_has_a_line_for_each_method_through_its_scores_with_their_intervals():
    axes = drawn(RESULTS, "a; b").axes[0]
    first, second = axes.containers
    assert list(first.lines[0].get_ydata()) == pytest.approx([80])
    assert list(second.lines[0].get_ydata()) == pytest.approx([76, 70])
    low, high = second.lines[2][0].get_segments()[1][:, 1]
    assert (low, high) == pytest.approx((68, 71))
