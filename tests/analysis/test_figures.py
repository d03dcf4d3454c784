"""What the figures draw."""

import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from renyi_jax.analysis.figures import curves, order_curves
from renyi_jax.analysis.style import criterion_style, spots, text_of
from renyi_jax.pruning import CRITERIA, REDUCERS


def row(criterion="renyi", keep_rate=0.7, alpha=None, top1=0.8, reducer="drop"):
    mean_rate = np.mean(keep_rate)
    return {
        "criterion": criterion,
        "reducer": None if criterion == "none" else reducer,
        "alpha": alpha,
        "keep_rate": keep_rate,
        "top1": top1,
        "top5": 0.99,
        "num_examples": 100,
        "gmacs": 4.6 * mean_rate,
        "images_per_second": 100 / mean_rate,
        "kept_on_object": 0.4,
    }


ROWS = [
    row(alpha=2.0, top1=0.80),
    row("none", 1.0, top1=0.82),
    row(alpha="inf", top1=0.81),
    row(alpha=2.0, keep_rate=0.5, top1=0.70),
    row(alpha="inf", keep_rate=0.5, top1=0.74),
    row("random", 0.5, top1=0.60),
]


def lines(figure):
    return {
        line.get_label(): np.column_stack(line.get_data()).tolist()
        for line in figure.axes[0].get_lines()
    }


def drawn(figure):
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a layout that does not fit
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_every_criterion_starts_from_the_plain_model_and_goes_down_the_keep_rates():
    shown = lines(curves(ROWS, "gmacs", "top1"))
    assert shown["renyi"] == [[4.6, 82], [4.6 * 0.7, 80], [2.3, 70]]
    assert shown["random"] == [[4.6, 82], [2.3, 60]]
    assert shown["no pruning"] == [[4.6, 82]]
    assert shown["as trained"] == [[4.6 * 0.7, 80]]


def test_axes_carry_their_units():
    axes = curves(ROWS, "images_per_second", "top1").axes[0]
    assert axes.get_xlabel() == "throughput (images/s)"
    assert axes.get_ylabel() == "top-1 accuracy (%)"


def test_intervals_are_whiskers_about_the_points():
    sure = [row | {"top1_interval": [row["top1"] - 0.02, row["top1"] + 0.01]} for row in ROWS]
    axes = curves(sure, "gmacs", "top1").axes[0]
    spans = {
        tuple(np.round(segment[:, 1], 6))
        for bars in axes.containers
        for segment in bars.lines[2][0].get_segments()
    }
    assert spans == {(78, 81), (80, 83), (68, 71), (58, 61)}
    assert drawn(axes.figure).std() > 0


def test_whiskers_of_prunings_that_cost_the_same_stand_apart():
    rows = [
        row(name, rate, top1=0.8) | {"top1_interval": [0.78, 0.82], "gmacs": 3.0 * rate}
        for name in ("renyi", "cls_attention", "random")
        for rate in (0.7, 0.5)
    ]
    figure = curves(rows, "gmacs", "top1")
    drawn(figure)
    places = [
        float(bars.lines[2][0].get_transform().transform(segment)[0, 0]) * 72 / figure.dpi
        for bars in figure.axes[0].containers
        for segment in bars.lines[2][0].get_segments()
    ]
    assert len(places) == 6
    assert np.diff(sorted(places)).min() > 5


def test_adaptive_keep_counts_have_a_line_of_their_own():
    rows = [*ROWS, ROWS[0] | {"keep_mass": 0.9, "top1": 0.79}]
    figure = curves(rows, "gmacs", "top1")
    shown = lines(figure)
    assert shown["renyi, mass 0.9"] == [[4.6, 82], [4.6 * 0.7, 79]]
    assert shown["renyi"] == [[4.6, 82], [4.6 * 0.7, 80], [2.3, 70]]
    styles = {line.get_label(): line.get_linestyle() for line in figure.axes[0].get_lines()}
    assert styles["renyi"] != styles["renyi, mass 0.9"]


def test_no_two_criteria_have_one_colour():
    own = REDUCERS["merge"].own_criterion
    names = [*CRITERIA, own]
    colours = [criterion_style(name, [own])[0] for name in names]
    assert len(set(colours)) == len(names)


def test_the_ring_is_left_out_where_the_model_was_not_trained_so():
    rows = [each | {"trained": False} for each in ROWS]
    assert "as trained" not in lines(curves(rows, "gmacs", "top1"))
    assert "as trained" not in lines(order_curves(rows, "top1"))
    assert "as trained" in lines(order_curves(ROWS, "top1"))


def test_every_row_can_be_pointed_at_where_it_is_drawn():
    rows = [each | {"top1_interval": [each["top1"] - 0.02, 1.0]} for each in ROWS]
    figure = curves(rows, "gmacs", "top1")
    pixels = drawn(figure)
    marked = {text: (x, y) for x, y, text, _ in spots(figure)}
    assert len(marked) == len(ROWS)
    assert all(0 < share < 1 for place in marked.values() for share in place)
    (text,) = (text for text in marked if text.startswith("random"))
    assert text == (
        "random, keep rate 0.5; top-1 accuracy (%): 60 (95 %: 58 to 100);"
        " multiply-adds per image (G): 2.3"
    )
    height, width, _ = pixels.shape
    x, y = marked[text]
    colour = np.round(255 * np.array(to_rgb(criterion_style("random")[0])))
    assert np.abs(pixels[round(y * height), round(x * width), :3] - colour).max() < 8


def test_orders_stand_side_by_side_up_to_infinity():
    figure = order_curves(ROWS, "top1")
    assert lines(figure)["keep rate 0.5"] == [[0, 70], [1, 74]]
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["2", "∞"]


def test_without_a_sweep_of_orders_there_is_no_figure_of_it():
    assert order_curves([ROWS[0], ROWS[1], ROWS[5]], "top1") is None


@pytest.mark.parametrize(
    "rows",
    [
        ROWS[:1],
        ROWS[1:2],
        [row(["renyi", "random"], [0.9, 0.5], ["inf", 1.0]), ROWS[1]],
        [*ROWS, row("random", 0.5, reducer="fuse")],
    ],
    ids=["trained alone", "plain alone", "values per block", "two reducers"],
)
def test_any_set_of_rows_can_be_drawn(rows):
    for x, y in (("gmacs", "top1"), ("images_per_second", "top1"), ("gmacs", "kept_on_object")):
        assert drawn(curves(rows, x, y)).std() > 0


@pytest.mark.parametrize(
    "value, text",
    [(None, "–"), (0.7, "0.7"), (2.0, "2"), ("inf", "∞"), ([0.9, 0.5], "0.9, 0.5"), ("renyi",) * 2],
)
def test_values_are_written_as_people_write_them(value, text):
    assert text_of(value) == text
