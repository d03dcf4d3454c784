"""The page of a search: the plans beside what they were compared with, and what they keep."""

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import UInt8
from matplotlib.figure import Figure

from renyi_jax.analysis import page
from renyi_jax.analysis.page import Cell
from renyi_jax.analysis.photo import Entropies, photo_card
from renyi_jax.analysis.readings import read_attention, read_rows
from renyi_jax.analysis.style import COLOURS, INK, LINE, MARKERS, SOFT, legend, mark_spot, tidy
from renyi_jax.common.files import write_text
from renyi_jax.models import VisionTransformer
from renyi_jax.planning.plan import Found, Plan
from renyi_jax.planning.results import Row, ends_of, judged_rows
from renyi_jax.pruning import PruningConfig
from renyi_jax.pruning.sweep import describe

NUM_SHOWN = 8
ALPHAS = (1.0, 2.0, 4.0)


def write_page(
    folder: epath.Path,
    found: Mapping[str, Found],
    model: VisionTransformer,
    images: UInt8[np.ndarray, "n height width 3"],
    class_names: Sequence[str] | None,
    use: Sequence[str],
) -> None:
    """Writes report/index.html.

    Args:
        folder: of the plans.
        found: plans and what was judged for them, by the names of the files of the plans.
        model: that they are for.
        images: of which the page shows the first.
        class_names: of the model's classes, where they are known.
        use: a command line, but for the plan, that uses one.
    """
    plans = [each.plan for each in found.values()]
    rows = list(judged_rows(list(found.values()), model))
    parts = [*_summary(plans, model, rows), *_pictures(plans, model, images, class_names)]
    parts += _use(folder, list(found), use)
    write_text(folder / "report" / "index.html", page.page("Pruning planned", parts))


def front(plans: Sequence[Plan], judged: Sequence[Row]) -> Figure:
    """Draws the loss over the multiply-adds: a line for the plans and one for each published
    method, on the images that judge, and behind them all candidates, on those that chose."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    tidy(axes, "multiply-adds per image (G)", plans[0].objective)
    most = max(row["images"] for row in judged)
    for words, is_shown in (("tried, on few images", 0), ("tried, on half of the images", 1)):
        points = [row for row in judged if (row["images"] == most) == is_shown]
        axes.plot(
            *([row[field] for row in points] for field in ("gmacs", "loss")),
            ".",
            color=INK if is_shown else "#9aa5b1",
            markersize=5 if is_shown else 3,
            alpha=0.7,
            label=words,
        )
    names = list(dict.fromkeys(row["name"] for plan in plans for row in plan.rows))
    for number, name in enumerate(names):
        rows = [row for plan in plans for row in plan.rows if row["name"] == name]
        rows.sort(key=lambda row: row["gmacs"])
        colour = COLOURS[number % len(COLOURS)]
        marker = MARKERS[number % len(MARKERS)]
        points = [row["gmacs"] for row in rows], [row["score"] for row in rows]
        axes.plot(*points, color=colour, marker=marker, label=name, **LINE)
        for row in rows:
            mark_spot(axes, row["gmacs"], row["score"], f"{name}: {row['score']:.4g}")
            if row["interval"]:
                low, high = row["interval"]
                axes.vlines(row["gmacs"], low, high, color=colour, linewidth=1.1)
    # Whatever loses most would press all else together.
    if all(row["score"] > 0 for plan in plans for row in plan.rows if row["pruning"]):
        axes.set_yscale("symlog", linthresh=max(1e-4, min(p.score for p in plans) / 2))
    axes.tick_params(axis="y", labelcolor=SOFT)
    legend(figure)
    return figure


def comparison(plan: Plan) -> str:
    """Returns the table of what a plan was compared with, as HTML."""
    header = ["", "blocks", "criterion", "reducer", "α", "keep rate", "GMACs", "loss", "95 %"]
    header.append("plan minus this (95 %)")
    lines = []
    for row in plan.rows:
        pruning = row["pruning"] and PruningConfig.from_json(row["pruning"])
        told = describe(pruning)
        options = ("blocks", "criterion", "reducer", "alpha", "keep_rate")
        lines.append(
            [
                _text(row["name"]),
                *(_text(_words(told[name])) for name in options),
                Cell(f"{row['gmacs']:#.4g}", row["gmacs"]),
                Cell(f"{row['score']:.4g}", row["score"]),
                _text(ends_of(row["interval"], ".4g")),
                _difference(row),
            ]
        )
    return page.table(header, lines, strong=0)


def _summary(
    plans: Sequence[Plan], model: VisionTransformer, judged: Sequence[Row]
) -> Iterator[str]:
    made = plans[0].made_from
    name = html.escape(model.spec.name or "a Vision Transformer")
    yield f"<h1>Pruning planned for {name}</h1>\n"
    yield (
        f"<p>{made['candidates']} candidates for each budget were judged on {made['choosing']}"
        " images, many on a few of them and few on all. The best was then judged on"
        f" {made['judging']} other images, beside published methods of the same cost. The loss is"
        f" the {html.escape(plans[0].objective)}; nothing was trained.</p>\n"
    )
    yield page.plot(front(plans, judged), "Loss over multiply-adds, of plans and all tried.")
    for plan in plans:
        yield f"<h2>At {html.escape(plan.budget)}</h2>\n{comparison(plan)}"
    yield (
        '<p class="note">Intervals are 95 %, by bootstrap over the images. A difference is the mean'
        " over the images; below 0 the plan loses less.</p>\n"
    )


def _pictures(
    plans: Sequence[Plan],
    model: VisionTransformer,
    images: UInt8[np.ndarray, "n height width 3"],
    class_names: Sequence[str] | None,
) -> Iterator[str]:
    pixels = images[:NUM_SHOWN]
    reading = read_attention(model, pixels, ALPHAS)
    yield "<h2>What the plans keep</h2>\n"
    yield '<p class="note">Striped patches are dropped.</p>\n'
    compared = {plan.budget: plan.pruning for plan in plans}
    by_picture, shown = read_rows(model, pixels, compared, (), class_names)
    for number, rows in enumerate(by_picture):
        maps = Entropies(reading.maps[:, :, number], ALPHAS)
        yield photo_card(number, pixels[number], f"Image {number + 1}", rows, shown, maps)


def _use(folder: epath.Path, names: Sequence[str], use: Sequence[str]) -> Iterator[str]:
    yield "<h2>Use it</h2>\n"
    for name in names:
        yield page.command(*use, f"--plan={folder / name}")


def _text(text: str) -> Cell:
    return Cell(html.escape(text), text)


def _words(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return value if isinstance(value, str) else f"{value:g}"


def _difference(row: Row) -> Cell:
    if row.get("difference") is None:
        return Cell("–", None)
    ends = ends_of(row["difference_interval"], "+.3g")
    return Cell(html.escape(f"{row['difference']:+.3g} ({ends})"), row["difference"])
