"""A picture on a page, as it stands there without any script."""

import base64
import io
import json
import re

import numpy as np
from PIL import Image

from renyi_jax.analysis.patch_maps import StageMap
from renyi_jax.analysis.photo import Entropies, Row, Stop, dropped_by, photo_card

RNG = np.random.default_rng(0)
GRID = (28, 28)


def stop(rate, answer="a class", blocks=(4, 7, 10)):
    values = RNG.uniform(1, 4, GRID)
    stages = []
    for block in blocks:
        kept = values <= np.nanquantile(values, rate)
        stages.append(StageMap(block, values, kept, "entropy (nats)"))
        values = np.where(kept, RNG.uniform(1, 4, GRID), np.nan)
    return Stop(f"{rate:g}", stages, answer)


def card(rows, shown=1, orders=3, **options):
    y, x = np.mgrid[:392, :392] / 392
    noise = RNG.normal(0, 8, (392, 392, 3))
    pixels = np.stack([255 * x, 255 * y, 128 + 127 * np.sin(20 * x * y)], axis=-1) + noise
    entropies = Entropies(RNG.uniform(1, 4, (orders, 12, *GRID)), [1.0, 2.0, 4.0][:orders])
    pixels = pixels.clip(0, 255).astype(np.uint8)
    return photo_card(0, pixels, "a <b>photo</b>", rows, shown, entropies, **options)


ROWS = [Row(name, [stop(rate) for rate in (0.3, 0.5, 0.7, 0.9)]) for name in ("renyi", "random")]


def test_a_large_photograph_takes_a_quarter_of_a_page_of_one_and_a_half_megabytes():
    text = card(ROWS)
    assert len(text) < 1.5e6 / 4
    assert text.count("data:image/jpeg") == 1


def test_without_a_script_the_kept_patches_and_the_values_are_there():
    text = card(ROWS, shown=2)
    paths = re.findall(r'<path class="gone" d="([^"]*)"', text)
    maps = re.findall(
        r'data-stage="[123]" data-low="(.+?)" data-high="(.+?)".+?base64,(.+?)"', text
    )
    stages = [stage for row in ROWS for stage in row.stops[2].stages]
    assert len(paths) == len(maps) == len(stages)
    for path, (low, high, png), stage in zip(paths, maps, stages):
        gone = np.zeros(GRID, bool)
        for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", path):
            gone[int(y), int(x) : int(x) + int(length)] = True
        np.testing.assert_array_equal(gone, ~stage.kept)
        levels = Image.open(io.BytesIO(base64.b64decode(png)))
        assert levels.info["transparency"] == 255
        levels = np.asarray(levels).astype(float)
        values = float(low) + np.where(levels == 255, np.nan, levels) / 254 * (
            float(high) - float(low)
        )
        np.testing.assert_allclose(values, stage.values, atol=3 / 254)


def test_a_model_that_is_not_pruned_and_values_that_are_all_alike_are_shown_too():
    assert "<svg" in card([]) and "slider" not in card([])
    even = StageMap(4, np.ones(GRID), np.ones(GRID, bool), "score")
    assert "keep rate 1" in card([Row("renyi", [Stop("1", [even])])], shown=0)


def test_no_word_ends_the_data_or_a_tag():
    rows = [Row("<i>", [stop(0.5, answer="</script><img src=x> & \u2028")])]
    text = card(rows, shown=0)
    assert "<i>" not in text.replace("<i></i>", "") and "<img src=x>" not in text
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', text)
    assert json.loads(data)[0]["stops"][0]["answer"] == rows[0].stops[0].answer


def test_a_patch_is_dropped_by_the_first_stage_that_does_not_keep_it():
    first = np.array([[True, True, False, False]])
    second = np.array([[True, False, False, True]])  # what is fused may stand again in a place
    maps = [StageMap(n, np.zeros((1, 4)), kept, "") for n, kept in ((4, first), (7, second))]
    assert dropped_by(maps).tolist() == [[0, 2, 1, 1]]
