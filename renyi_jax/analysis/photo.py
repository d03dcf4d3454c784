"""One image on a page: what pruning leaves of it, at every keep rate that it was run at.

The image is in the page once. What is drawn over it is small: stripes over the dropped patches,
and maps of values, a grey level for each patch, which the page colours, and from which it reads the
value under the pointer.
"""

import base64
import html
import io
import itertools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from renyi_jax.analysis.patch_maps import StageMap
from renyi_jax.analysis.style import text_of, words

_TOP_LEVEL = 254  # the grey level of the highest value; that above it is of a patch without one

_TINY = 128
"""Pixels. The side from which on an image is a photograph, and smooth when it is enlarged."""

Limits = tuple[float, float]


class Stop(NamedTuple):
    """A keep rate, in words, that an image was run at: the maps, and the predicted class in
    words.
    """

    rate: str
    stages: Sequence[StageMap]
    answer: str = ""


class Row(NamedTuple):
    """One way of pruning: its name, and the same keep rates as in the image's other rows."""

    name: str
    stops: Sequence[Stop]


class Entropies(NamedTuple):
    """The entropy of every patch in every block without pruning, in nats, and the orders."""

    maps: Float[np.ndarray, "orders blocks rows columns"]
    alphas: Sequence[float]


def photo_card(
    number: int,
    pixels: UInt8[np.ndarray, "height width 3"],
    heading: str,
    rows: Sequence[Row],
    shown: int,
    entropies: Entropies,
    *,
    on_object: Bool[np.ndarray, "rows columns"] | None = None,
    below: str = "",
) -> str:
    """Returns all that is known of one image, as HTML.

    Args:
        number: of the image on its page.
        heading: HTML.
        rows: the prunings to compare; none for a model that is not pruned.
        shown: index of the stop that is shown at first, and without JavaScript.
        entropies: of the model without pruning.
        on_object: the patches on the labelled object.
        below: HTML at the end.
    """
    name = f"photo-{number}"
    grid = entropies.maps.shape[-2:]
    panels = [_panel("image", _drawing(grid, _image(name, pixels, grid), 0, 0))]
    if on_object is not None:
        caption = f"<b>{on_object.sum()}</b> patches on the object"
        panels.append(_panel(caption, _drawing(grid, _use(name) + _stripes(on_object), 0, 0)))
    compared = [_row(place, row, shown, name) for place, row in enumerate(rows)]
    data = json.dumps(list(map(_row_data, rows)), separators=(",", ":"), ensure_ascii=False)
    data = data.replace("<", r"\u003c")  # no tag can end the script
    return (
        f'<article class="photo">\n<h3>{heading}</h3>\n'
        f'<div class="sides"><div class="panels">{"".join(panels)}</div>\n'
        f"<div>{_slider(rows[0].stops, shown) if rows else ''}{''.join(compared)}</div></div>\n"
        f"{_all_blocks(entropies)}{below}"
        f'<script type="application/json">{data}</script>\n</article>\n'
    )


def _slider(stops: Sequence[Stop], shown: int) -> str:
    rate = html.escape(stops[shown].rate)
    if len(stops) == 1:
        return f"<p>keep rate {rate}</p>\n"
    return (
        f'<p class="slider"><label>keep rate <input type="range" min="0" max="{len(stops) - 1}"'
        f' value="{shown}" hidden></label> <output>{rate}</output></p>\n'
    )


def _row(place: int, row: Row, shown: int, picture: str) -> str:
    stop = row.stops[shown]
    panels = []
    for number, (stage, limits) in enumerate(zip(stop.stages, _limits(row)), start=1):
        caption = f"block {stage.block}: <b>{stage.kept.sum()}</b> of {stage.kept.size}"
        kept = _drawing(stage.kept.shape, _use(picture) + _stripes(stage.kept), place, number)
        values = _map(stage.values, limits, stage.quantity, _which(place, number))
        panels.append(_panel(caption, kept + values + _legend(limits, stage.quantity)))
    return (
        f'<h4>{html.escape(words(row.name))} <span class="answer">{html.escape(stop.answer)}</span>'
        f'</h4>\n<div class="panels">{"".join(panels)}</div>\n'
    )


def _all_blocks(entropies: Entropies) -> str:
    """The maps of every order and block, the blocks of one order in the same colours."""
    sections = []
    for alpha, blocks in zip(entropies.alphas, entropies.maps):
        limits = float(np.nanmin(blocks)), float(np.nanmax(blocks))
        maps = "".join(
            _panel(f"block {number}", _map(values, limits, "entropy (nats)"))
            for number, values in enumerate(blocks, start=1)
        )
        name = f"α = {text_of(alpha)}"
        sections.append(
            f'<section data-name="{name}"><h5>{name}</h5>{_legend(limits, "entropy (nats)")}'
            f'<div class="panels small">{maps}</div></section>\n'
        )
    return (
        "<h4>entropy in every block, without dropping a patch</h4>\n"
        f'<div class="choices">\n{"".join(sections)}</div>\n'
    )


def _panel(caption: str, media: str) -> str:
    return f'<figure class="panel"><figcaption>{caption}</figcaption>{media}</figure>\n'


def _which(row: int, stage: int) -> str:
    """Which of the image's rows and stages it is whose patches are shown."""
    return f'data-row="{row}" data-stage="{stage}"'


def _drawing(grid: Sequence[int], content: str, row: int, stage: int) -> str:
    """SVG in which a patch measures 1."""
    rows, columns = grid
    return (
        f'<div class="medium" {_which(row, stage)}><svg role="img" aria-label="image" '
        f'viewBox="0 0 {columns} {rows}" preserveAspectRatio="none">{content}</svg></div>'
    )


def _image(name: str, pixels: np.ndarray, grid: Sequence[int]) -> str:
    rows, columns = grid
    tiny = max(pixels.shape) < _TINY
    kind, options = ("png", {"optimize": True}) if tiny else ("jpeg", {"quality": 85})
    return (
        f'<image id="{name}"{" class=pixels" if tiny else ""} width="{columns}" height="{rows}" '
        f'preserveAspectRatio="none" href="data:image/{kind};base64,'
        f'{_encode(pixels, kind, **options)}"/>'
    )


def _use(picture: str) -> str:
    return f'<use href="#{picture}"/>'


def _stripes(kept: Bool[np.ndarray, "rows columns"]) -> str:
    """Covers all patches but those that are kept."""
    path = []
    for y, row in enumerate(kept.tolist()):
        x = 0
        for is_kept, run in itertools.groupby(row):
            length = len(list(run))
            path.append("" if is_kept else f"M{x} {y}h{length}v1h-{length}z")
            x += length
    return f'<path class="gone" d="{"".join(path)}"/>'


def _map(values: Float[np.ndarray, "rows columns"], limits: Limits, quantity: str, which="") -> str:
    low, high = limits
    quantity = html.escape(quantity)
    rows, columns = values.shape
    return (
        f'<div class="medium map" {which} data-low="{low:.6g}" data-high="{high:.6g}" '
        f'data-quantity="{quantity}"><img alt="{quantity} of every patch" width="{columns}" '
        f'height="{rows}" src="data:image/png;base64,{_levels(values, limits)}"></div>'
    )


def _legend(limits: Limits, quantity: str) -> str:
    low, high = (f"{end:.3g}" for end in limits)
    return f'<p class="legend">{low} <i></i> {high} <span>{html.escape(quantity)}</span></p>'


def _limits(row: Row) -> list[Limits]:
    """The range of the values of each stage, over all stops."""
    by_stage = zip(*(stop.stages for stop in row.stops))
    values = [np.concatenate([stage.values.ravel() for stage in stages]) for stages in by_stage]
    return [(float(np.nanmin(each)), float(np.nanmax(each))) for each in values]


def _row_data(row: Row) -> dict[str, Any]:
    """What the slider shows: of every stop the stage that drops each patch, a digit for each, and
    the levels of the values in each stage."""
    return {
        "blocks": [stage.block for stage in row.stops[0].stages],
        "stops": [
            {
                "rate": stop.rate,
                "answer": stop.answer,
                "left": [int(stage.kept.sum()) for stage in stop.stages],
                "gone": "".join(np.base_repr(each, 36) for each in dropped_by(stop.stages).flat),
                "maps": [
                    _levels(stage.values, limits)
                    for stage, limits in zip(stop.stages, _limits(row))
                ],
            }
            for stop in row.stops
        ],
    }


def dropped_by(stages: Sequence[StageMap]) -> Int[np.ndarray, "rows columns"]:
    """By which of the stages, counted from 1, each patch was dropped; 0 for those that stay."""
    gone = np.zeros(stages[0].kept.shape, int)
    for number, stage in enumerate(stages, start=1):
        gone[(gone == 0) & ~stage.kept] = number
    return gone


def _levels(values: Float[np.ndarray, "rows columns"], limits: Limits) -> str:
    """A grey level for each value, transparent where there is none: a PNG, in base64."""
    low, high = limits
    shares = (values - low) / (high - low if high > low else 1)
    levels = np.where(np.isnan(values), _TOP_LEVEL + 1, np.round(_TOP_LEVEL * shares))
    options = {"optimize": True, "transparency": _TOP_LEVEL + 1}
    return _encode(levels.astype(np.uint8), "png", **options)


def _encode(pixels: UInt8[np.ndarray, "height width *channels"], kind: str, **options: Any) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode()
