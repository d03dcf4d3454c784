"""The report of a run: report/index.html, one page that shows what pruning did to the model."""

import html
import json
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from etils import epath

from renyi_jax.analysis import page
from renyi_jax.analysis.figures import Evaluation, curves, is_plain, order_curves
from renyi_jax.analysis.report_pictures import attention, examples, first_batch
from renyi_jax.analysis.style import text_of
from renyi_jax.config import to_json
from renyi_jax.data import Dataset
from renyi_jax.evaluation.settings import (
    adapts,
    keep_words,
    kept_words,
    option_words,
    varying_options,
)
from renyi_jax.files import write_text
from renyi_jax.models import VisionTransformer

# An ml_collections.ConfigDict: its attributes have no types that could be checked.
Config = Any


def write_report(
    workdir: epath.PathLike,
    results: Sequence[Evaluation],
    model: VisionTransformer,
    dataset: Dataset,
    config: Config,
) -> None:
    """Writes `workdir`/report/index.html, whole or not at all.

    Args:
        workdir: the run's folder.
        results: the evaluations of results.json, the trained setting first.
        model: the trained model; its pruning is shown on the first eight test images.
        dataset: where these images come from.
        config: of the run.
    """
    folder = epath.Path(workdir) / "report"
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{config.model.name} on {dataset.name}, pruned"
    write_text(folder / "index.html", page.page(title, _parts(results, model, dataset, config)))


def _parts(
    results: Sequence[Evaluation], model: VisionTransformer, dataset: Dataset, config: Config
) -> Iterator[str]:
    yield f"<h1>{html.escape(config.model.name)} on {html.escape(dataset.name)}, pruned</h1>\n"
    yield f"<p>{_summary(results[0], model, dataset, config)}</p>\n"
    yield page.grid("tiles", _tiles(results))
    yield "<h2>What pruning costs and saves</h2>\n"
    yield (
        '<p class="note">Every point is one evaluation on all test images, of the same weights: '
        "nothing was trained again. A pale bar spans what other orders α reach.</p>\n"
    )
    yield page.grid("two", _curves(results))
    yield "<h2>Every evaluation</h2>\n"
    yield _table(results)
    yield f'<p class="note" style="margin-top:12px">{_measured(results)}</p>\n'
    batch = first_batch(model, dataset, config)
    if model.pruning is not None:
        yield "<h2>What it keeps</h2>\n"
        yield (
            '<p class="note">The first test images. Above: by what each pruned block judged the '
            "patches that entered it, hatched where a patch had been dropped before; the colours "
            "of a block mean the same in all images. Below: the patches left after that block, "
            "the others greyed out"
            + (", beside those on the labelled object" if dataset.has_object_masks else "")
            + ".</p>\n"
        )
        yield page.grid("two", examples(model, dataset, batch))
    yield "<h2>What its attention is like</h2>\n"
    yield (
        '<p class="note">On the same images, without dropping any patch: the entropy of the '
        "attention that each patch pays, in every block; how it is spread where patches are "
        "dropped; and how it goes with the distance that attention reaches.</p>\n"
    )
    yield page.grid("two", attention(model, batch))
    yield (
        "<details><summary>The config of this run</summary>"
        f"<pre>{html.escape(json.dumps(to_json(config), indent=2))}</pre></details>\n"
    )


def _summary(
    trained: Evaluation, model: VisionTransformer, dataset: Dataset, config: Config
) -> str:
    spec, train = model.spec, config.train
    height, width = spec.image_size
    weights = config.model.weights
    start = f"<code>{html.escape(weights)}</code>" if weights else "random weights"
    epochs = f"{train.epochs} epoch{'s' if train.epochs > 1 else ''}"
    course = (
        f"was trained from {start} for {epochs} on the {len(dataset.train):,} training images of"
        f" {dataset.num_classes} classes"
        if train.epochs
        else f"was taken with {start} as they are"
    )
    sentences = [
        f"A Vision Transformer of {spec.depth} blocks, {spec.embed_dim} wide, that sees "
        f"{height} × {width} pixels as {spec.num_patches} patches, {course}"
    ]
    if model.pruning is None or is_plain(trained):
        sentences.append(", without pruning.")
    else:
        order = f", α = {text_of(trained['alpha'])}" if trained["alpha"] is not None else ""
        blocks = " and ".join(", ".join(map(str, model.pruning.blocks)).rsplit(", ", 1))
        plural = "s" if len(model.pruning.blocks) > 1 else ""
        sentences.append(
            f", with its patches pruned in block{plural} {blocks} (criterion "
            f"{html.escape(_criterion(trained))}{order}, "
            f"{'' if trained.get('r') is not None else 'keep rate '}{keep_words(trained)})."
        )
    sentences.append(
        f" It was then evaluated on {trained['num_examples']:,} test images under every pruning "
        "below."
    )
    return "".join(sentences)


def _tiles(results: Sequence[Evaluation]) -> Iterator[str]:
    """The trained setting in four numbers, each against the plain model if that was evaluated."""
    trained = results[0]
    plain = next((row for row in results[1:] if is_plain(row)), None)
    yield page.tile(
        "top-1 accuracy, as trained",
        f"{100 * trained['top1']:.1f}",
        "%",
        f"{_signed(100 * (trained['top1'] - plain['top1']))} points against no pruning"
        if plain
        else "",
    )
    yield page.tile(
        "multiply-adds per image",
        f"{trained['gmacs']:#.3g}",
        "G",
        f"{100 * trained['gmacs'] / plain['gmacs']:.0f} % of no pruning" if plain else "",
    )
    yield page.tile(
        "throughput",
        f"{trained['images_per_second']:,.0f}",
        "images/s",
        f"{trained['images_per_second'] / plain['images_per_second']:.2f} × no pruning"
        if plain
        else "",
    )
    if "kept_on_object" in trained:
        yield page.tile(
            "patches left on the object",
            f"{100 * trained['kept_on_object']:.0f}",
            "%",
            f"{100 * plain['kept_on_object']:.0f} % of all patches are" if plain else "",
        )


def _curves(results: Sequence[Evaluation]) -> Iterator[str]:
    for x, words in (("gmacs", "multiply-adds"), ("images_per_second", "throughput")):
        yield page.picture(
            curves(results, x, "top1"), f"Top-1 accuracy over {words}, one line per criterion."
        )
    orders = order_curves(results, "top1")
    if orders is not None:
        yield page.picture(orders, "Top-1 accuracy over the order alpha, one line per keep rate.")
    if "kept_on_object" in results[0]:
        yield page.picture(
            curves(results, "gmacs", "kept_on_object"),
            "Share of the patches left that lie on the object, over multiply-adds.",
        )


def _table(results: Sequence[Evaluation]) -> str:
    options = varying_options(results)
    columns = {
        "criterion": _criterion,
        "options": lambda row: option_words(row, options) or "–",
        "reducer": lambda row: text_of(row["reducer"]),
        "α": lambda row: text_of(row["alpha"]),
        "keep rate": keep_words,
        "mean kept": kept_words,
        "top-1 (%)": lambda row: f"{100 * row['top1']:.2f}",
        "top-5 (%)": lambda row: f"{100 * row['top5']:.2f}",
        "on object (%)": lambda row: f"{100 * row['kept_on_object']:.1f}",
        "multiply-adds (G)": lambda row: f"{row['gmacs']:#.3g}",
        "images/s": lambda row: f"{row['images_per_second']:,.1f}",
    }
    if not any(map(adapts, results)):
        del columns["mean kept"]
    if not options:
        del columns["options"]
    if "kept_on_object" not in results[0]:
        del columns["on object (%)"]
    rows = [[html.escape(cell(row)) for cell in columns.values()] for row in results]
    rows[0][0] += '<span class="badge">as trained</span>'
    return page.table(list(columns), rows, strong=0)


def _measured(results: Sequence[Evaluation]) -> str:
    """How the numbers of the table came about."""
    device = jax.devices()[0]
    sentences = [
        f"Top-1 and top-5 are over {results[0]['num_examples']:,} test images, each seen once.",
        "Multiply-adds are counted from the shapes, the cost of pruning included.",
        "Throughput is that of the compiled evaluation step on one batch that lies on the device "
        f"already ({html.escape(device.device_kind)}, JAX {jax.__version__}): the median over "
        "repetitions in which the settings take turns. Rows that differ in α alone run the same "
        "program and share its timing.",
    ]
    if "kept_on_object" in results[0]:
        sentences.append(
            "On object: of the patches left after the last pruned block, the share that has a "
            "pixel of the labelled object."
        )
    return " ".join(sentences)


def _signed(number: float) -> str:
    return f"{number:+.1f}".replace("-", "−")


def _criterion(row: Evaluation) -> str:
    return "no pruning" if is_plain(row) else text_of(row["criterion"])
