"""The figures of pictures and of many patches."""

import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from renyi_jax.analysis.distributions import correlation, depth_figure, entropy_histograms
from renyi_jax.analysis.panels import entropy_panels, kept_panels
from renyi_jax.analysis.patch_maps import StageMap

RNG = np.random.default_rng(0)


def drawn(figure):
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a layout that does not fit
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def stages(rate=0.6):
    values = RNG.uniform(1, 4, (4, 4))
    maps = []
    for block in (4, 7):
        kept = values <= np.nanquantile(values, rate)
        maps.append(StageMap(block, values, kept, "entropy (nats)"))
        values = np.where(kept, values, np.nan)
    return maps


@pytest.mark.parametrize("blocks", [2, 6, 12, 24])
@pytest.mark.parametrize("shape", [(16, 16), (8, 24)])
def test_there_is_a_map_for_every_block_and_order(blocks, shape):
    image = RNG.integers(0, 256, (*shape, 3), np.uint8)
    maps = RNG.uniform(1, 4, (2, blocks, shape[0] // 4, shape[1] // 4)).astype(np.float32)
    maps[0, 1, 0, 0] = np.nan
    figure = entropy_panels(image, maps, [2.0, np.inf])
    assert titles(figure) == ["image", *(f"block {n + 1}" for n in range(blocks))] * 2
    assert drawn(figure).std() > 0


def test_criteria_stand_one_below_the_other():
    image = RNG.integers(0, 256, (16, 16, 3), np.uint8)
    figure = kept_panels(image, {"renyi": stages(), "cls_attention": stages()})
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["renyi", "cls attention"]
    assert titles(figure) == ["image", "block 4: 10 of 16 left", "block 7: 6 of 16 left"]
    assert drawn(figure).std() > 0


def test_how_many_are_left_stands_in_every_row_where_criteria_differ_in_it():
    image = np.zeros((16, 16, 3), np.uint8)
    figure = kept_panels(image, {"renyi, mass 0.5": stages(0.3), "renyi": stages()})
    assert titles(figure)[:2] == ["image", "block 4: 5 of 16 left"]
    assert titles(figure)[3:] == ["10 of 16 left", "6 of 16 left"]
    assert drawn(figure).std() > 0


def test_a_histogram_has_every_patch_and_is_cut_between_kept_and_dropped():
    maps = stages()
    figure = entropy_histograms({1.0: [maps, stages()], 2.0: [maps]})
    axes = figure.axes[2]
    assert sum(bar.get_height() for bar in axes.patches if bar.get_zorder()) == 16
    (cut,) = axes.get_lines()
    kept, dropped = maps[0].values[maps[0].kept], maps[0].values[~maps[0].kept]
    assert kept.max() < cut.get_xdata()[0] < dropped.min()
    assert drawn(figure).std() > 0


def test_nothing_is_cut_where_all_is_kept():
    assert drawn(entropy_histograms({2.0: [stages(rate=1.0)]})).std() > 0


@pytest.mark.parametrize("orders", [1, 3])
def test_entropy_and_distance_are_drawn_by_block_and_head(orders):
    entropies = RNG.uniform(1, 4, (orders, 5, 3))
    figure = depth_figure(entropies, 20 * entropies[0], [1.0, 2.0, 4.0][:orders])
    assert "correlation r = 1.00" in titles(figure)
    assert drawn(figure).std() > 0


def test_what_does_not_vary_has_no_correlation():
    assert np.isnan(correlation(np.ones(3), np.arange(3.0)))
