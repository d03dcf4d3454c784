"""What the rows of results.json say, as parts of a page: headline numbers, curves, a table."""

import html
from collections.abc import Callable, Iterator, Sequence

from renyi_jax.analysis import page
from renyi_jax.analysis.figures import curves, order_curves
from renyi_jax.analysis.page import Cell
from renyi_jax.analysis.results import Evaluation, is_plain, trained_row
from renyi_jax.analysis.style import text_of
from renyi_jax.pruning.sweep import adapts, keep_words, kept_words, option_words, varying_options


def comparison(rows: Sequence[Evaluation], baseline: str = "none") -> Iterator[str]:
    """Yields the parts of a page that compare the rows of results.json with `baseline`."""
    against = "no pruning" if baseline == "none" else baseline
    yield page.grid("tiles", _tiles(rows, against))
    yield "<h2>What pruning costs and saves</h2>\n"
    yield (
        '<p class="note">Every point is one evaluation of the same weights: nothing was trained '
        "again. Whiskers are 95 % intervals; a pale bar spans what other orders α reach.</p>\n"
    )
    yield page.grid("two", _curves(rows))
    yield "<h2>Every evaluation</h2>\n"
    yield table(rows, against)
    yield f'<p class="note" style="margin-top:12px">{_explanations(rows, against)}</p>\n'


def table(rows: Sequence[Evaluation], against: str) -> str:
    """Every row, with its interval and its paired test."""
    options = varying_options(rows)
    columns: dict[str, tuple[str, Callable[[Evaluation], Cell]]] = {
        "criterion": ("criterion", lambda row: _words(criterion_words(row))),
        "options": ("criterion", lambda row: _words(option_words(row, options) or "–")),
        "reducer": ("reducer", lambda row: _words(text_of(row["reducer"]))),
        "α": ("alpha", lambda row: _number(row["alpha"], text_of(row["alpha"]))),
        "keep rate": ("criterion", lambda row: _number(row["keep_rate"], keep_words(row))),
        "mean kept": ("mean_kept", lambda row: _words(kept_words(row))),
        "top-1 (%)": ("top1", lambda row: _percent(row["top1"])),
        "95 %": ("top1_interval", _interval),
        f"against {against}": ("difference", _difference),
        "p": ("p_corrected", _p_value),
        "multiply-adds (G)": ("gmacs", lambda row: _number(row["gmacs"], f"{row['gmacs']:#.3g}")),
        "images/s": (
            "images_per_second",
            lambda row: _number(row["images_per_second"], f"{row['images_per_second']:,.1f}"),
        ),
        "speed-up": ("speedup", lambda row: _number(row["speedup"], f"{row['speedup']:.2f}")),
        "top-5 (%)": ("top5", lambda row: _percent(row["top5"])),
        "agreement (%)": ("agreement", lambda row: _percent(row["agreement"])),
        "on object (%)": ("kept_on_object", lambda row: _percent(row["kept_on_object"], 1)),
    }
    if not any(map(adapts, rows)):
        del columns["mean kept"]
    if not options:
        del columns["options"]
    if len({text_of(row["reducer"]) for row in rows if not is_plain(row)}) < 2:
        del columns["reducer"]
    shown = {
        name: (field, write)
        for name, (field, write) in columns.items()
        if any(row.get(field) is not None for row in rows)
    }
    cells = [
        [
            write(row) if row.get(field) is not None else Cell("–", None)
            for field, write in shown.values()
        ]
        for row in rows
    ]
    trained = trained_row(rows)
    strong = None if trained is None else [row is trained for row in rows].index(True)
    if strong is not None:
        first = cells[strong][0]
        badge = '<span class="badge">as trained</span>'
        cells[strong][0] = first._replace(content=first.content + badge)
    return page.table(list(shown), cells, strong, named=True)


def criterion_words(row: Evaluation) -> str:
    """The criterion of a row, as people read it."""
    return "no pruning" if is_plain(row) else text_of(row["criterion"])


def _tiles(rows: Sequence[Evaluation], against: str) -> Iterator[str]:
    """One setting in four numbers: the trained one, or else the first that prunes."""
    trained = trained_row(rows)
    row = trained or next((row for row in rows if not is_plain(row)), rows[0])
    plain = next((each for each in rows if is_plain(each) and each is not row), None)
    name = "as trained" if trained else f"{criterion_words(row)}, keep rate {keep_words(row)}"
    verdict = _verdict(row, plain, against)
    yield page.tile(f"top-1 accuracy, {name}", f"{100 * row['top1']:.1f}", "%", verdict)
    cost = plain and plain["gmacs"]
    remark = f"{100 * row['gmacs'] / cost:.0f} % of no pruning" if cost else ""
    yield page.tile("multiply-adds per image", f"{row['gmacs']:#.3g}", "G", remark)
    speedup = row.get("speedup")
    if speedup is None and plain and plain["images_per_second"]:
        speedup = row["images_per_second"] / plain["images_per_second"]
    remark = "" if speedup is None else f"{speedup:.2f} × no pruning"
    yield page.tile("throughput", f"{row['images_per_second']:,.0f}", "images/s", remark)
    if row.get("kept_on_object") is not None:
        of_all = None if plain is None else plain.get("kept_on_object")
        remark = "" if of_all is None else f"{100 * of_all:.0f} % of all patches are"
        left = f"{100 * row['kept_on_object']:.0f}"
        yield page.tile("patches left on the object", left, "%", remark)


def _verdict(row: Evaluation, plain: Evaluation | None, against: str) -> str:
    """How the accuracy differs, and whether that is more than chance."""
    if row.get("difference") is not None:
        words = f"{_signed(100 * row['difference'])} points against {against}"
        if row.get("difference_interval"):
            low, high = (_signed(100 * end) for end in row["difference_interval"])
            words += f" (95 %: {low} to {high})"
        if row.get("p_corrected") is not None:
            is_real = "significant" if row.get("real") else "not significant"
            words += f"; p {_p_words(row['p_corrected'])}, {is_real}"
        return words
    if plain is None:
        return ""
    return f"{_signed(100 * (row['top1'] - plain['top1']))} points against no pruning, not tested"


def _curves(rows: Sequence[Evaluation]) -> Iterator[str]:
    for x, words in (("gmacs", "multiply-adds"), ("images_per_second", "throughput")):
        yield page.plot(
            curves(rows, x, "top1"), f"Top-1 accuracy over {words}, one line for each criterion."
        )
    orders = order_curves(rows, "top1")
    if orders is not None:
        yield page.plot(orders, "Top-1 accuracy over the order alpha, one line for each keep rate.")
    if all(row.get("kept_on_object") is not None for row in rows):
        yield page.plot(
            curves(rows, "gmacs", "kept_on_object"),
            "Share of the patches left that lie on the object, over multiply-adds.",
        )


def _explanations(rows: Sequence[Evaluation], against: str) -> str:
    """What the columns of the table mean."""
    has = {field for row in rows for field, value in row.items() if value is not None}
    images = rows[0].get("num_examples")
    sentences = []
    if images is not None:
        runs = rows[0].get("num_runs") or 1
        mean = f", mean of {runs:g} runs" if runs > 1 else ""
        sentences.append(f"Accuracy is over {images:,} test images, each seen once{mean}.")
    if "top1_interval" in has:
        sentences.append("Intervals are 95 %, by bootstrap over the images.")
    if "p_corrected" in has:
        sentences.append(
            f"p is of a paired test against {html.escape(against)} on the same images, "
            "corrected for the number of rows (Holm); one in bold is significant (p < 0.05)."
        )
    if "agreement" in has:
        sentences.append("Agreement: images for which the unpruned model says the same class.")
    if "kept_on_object" in has:
        sentences.append(
            "On object: of the patches left after the last pruned block, the share that has a "
            "pixel of the labelled object."
        )
    sentences.append(
        "Multiply-adds are counted from the shapes, the cost of pruning included. Throughput is "
        "that of the compiled evaluation step on one batch that lies on the device already, the "
        "settings taking turns; rows that differ in α alone share a program and its timing."
    )
    return " ".join(sentences)


def _words(text: str) -> Cell:
    return Cell(html.escape(text), text)


def _number(value, text: str) -> Cell:
    """A number, or several, which are sorted by the first; infinity is the largest."""
    first = value[0] if isinstance(value, list) else value
    known = None if first is None else float(first)
    return Cell(html.escape(text), 1e300 if known == float("inf") else known, str(value))


def _percent(share: int | float, digits: int = 2) -> Cell:
    return Cell(f"{100 * share:.{digits}f}", share, f"{100 * share:.6g} %")


def _interval(row: Evaluation) -> Cell:
    low, high = (f"{100 * end:.1f}" for end in row["top1_interval"])
    return Cell(f"{low} to {high}", row["top1_interval"][0])


def _difference(row: Evaluation) -> Cell:
    text = _signed(100 * row["difference"], 2)
    text = f"<strong>{text}</strong>" if row.get("real") else text
    if row.get("difference_interval"):
        low, high = (_signed(100 * end) for end in row["difference_interval"])
        text += f" ({low} to {high})"
    return Cell(text, row["difference"])


def _p_value(row: Evaluation) -> Cell:
    p = row["p_corrected"]
    raw = "" if row.get("p_value") is None else f"before the correction: {row['p_value']:.2g}"
    return Cell(html.escape(_p_words(p)), p, raw)


def _p_words(p: int | float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def _signed(number: int | float, digits: int = 1) -> str:
    return f"{number:+.{digits}f}".replace("-", "−")
