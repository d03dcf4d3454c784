"""Draws what pruning sees and does: one page to look about in, and figures as PNG and SVG.

For each image: the entropy of its patches in every block, for every order of --alphas, and the
patches that each of --criteria keeps, on the page at each of --keep_rates. For all images
together: how entropy is spread and where it is cut, and how it goes with the distance that
attention reaches. From the results.json of renyi_jax.main or renyi_jax.evaluate: accuracy against
multiply-adds and against throughput, and every row with its interval and its paired test.

  python -m renyi_jax.visualize --model=vit_small_patch14_dinov2 --weights=dinov2.safetensors \\
      --image_size=392 --alphas=1,2,4 --criteria=renyi,cls_attention --out=figures --image *.jpg
  python -m renyi_jax.visualize --results=runs/quickstart/results.json --out=figures

It writes results.json too: the means behind the figures.
"""

import dataclasses
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from renyi_jax.analysis import page
from renyi_jax.analysis.comparison import comparison
from renyi_jax.analysis.distributions import CAPTIONS, attention_figures, correlation
from renyi_jax.analysis.figures import curves
from renyi_jax.analysis.panels import entropy_panels, kept_panels
from renyi_jax.analysis.photo import Entropies, photo_card
from renyi_jax.analysis.readings import (
    AttentionReading,
    name_of_pruning,
    prunes_by_score,
    read_attention,
    read_rows,
)
from renyi_jax.analysis.results import Evaluation, read_results
from renyi_jax.analysis.style import text_of
from renyi_jax.cli import commands
from renyi_jax.cli.images import define_images, find_images, parse_images, tell_refused
from renyi_jax.cli.model import define_model
from renyi_jax.cli.values import define
from renyi_jax.common.fields import integer, number, one_of, per_block, several
from renyi_jax.common.files import output_folder, write_bytes, write_text
from renyi_jax.common.progress import progress
from renyi_jax.common.provenance import write_results
from renyi_jax.errors import UserError
from renyi_jax.images import printable, short_name
from renyi_jax.inference import crop_picture, describe, read_picture
from renyi_jax.models import VisionTransformer
from renyi_jax.models.vit import check_blocks
from renyi_jax.pruning import CRITERIA, DEFAULT_CRITERION, PUBLISHED, PruningConfig

_load_model = define_model(required=False)
_IMAGES = define_images()
_ALPHAS = define(
    "alphas", several((1.0, 2.0, 4.0), number(1, "(0, inf]")), "Orders of the entropy to draw."
)
_CRITERIA = define(
    "criteria",
    several((DEFAULT_CRITERION, *PUBLISHED), per_block(one_of(DEFAULT_CRITERION, CRITERIA))),
    "Whose kept patches are drawn, beside --criterion's; with slashes between the blocks where one"
    " changes.",
)
_KEEP_RATES = define(
    "keep_rates",
    several((0.9, 0.5, 0.3), number(1, "(0, 1)")),
    "Beside --keep_rate, the keep rates that the page shows. Each compiles a program for each of"
    " the criteria.",
)
_RESULTS = flags.DEFINE_string("results", None, "A results.json with evaluations.")
_OUT = flags.DEFINE_string("out", None, "Folder of the page and the figures.", required=True)
_DPI = define("dpi", integer(140, 20, 1200), "Of the PNG files.")

_OWN = (_IMAGES, _ALPHAS, _CRITERIA, _KEEP_RATES, _RESULTS, _OUT, _DPI)


class Picture(NamedTuple):
    """An image as the model sees it, the file that it is of, and what its figures are called."""

    name: str
    file: Path
    pixels: np.ndarray


class Drawn(NamedTuple):
    """What is shown of something: HTML for the page, and figures by the names of their files."""

    parts: list[str]
    figures: dict[str, Figure]


def main() -> None:
    if not _IMAGES.value and _RESULTS.value is None:
        raise UserError("Nothing to draw: give --image=FILE, or --results=FILE, or both.")
    rows = read_results(_RESULTS.value) if _RESULTS.value is not None else []
    folder = output_folder("--out", _OUT.value)
    drawn: list[Drawn] = []
    results: dict[str, Any] = {}
    refused: list[UserError] = []
    pictures: list[Picture] = []
    title = "Pruning compared"
    if _IMAGES.value:
        alphas = _ALPHAS.value
        files, refused = find_images(_IMAGES.value)
        model, class_names = _load_model()
        compared = _compared(model)
        for file in files:
            try:
                spec = model.spec
                picture = read_picture(file)
                pixels = crop_picture(picture, spec.image_size, spec.crop_pct, spec.interpolation)
            except UserError as error:
                refused.append(error)
                continue
            pictures.append(Picture(f"{len(pictures) + 1:02d}_{short_name(file)}", file, pixels))
        if pictures:
            pixels = np.stack([picture.pixels for picture in pictures])
            reading = read_attention(model, pixels, alphas)
            results = {"model": describe(model), **_means(reading, alphas)}
            title = f"What pruning does in {results['model']['model']}"
            drawn.append(_draw_pictures(model, pictures, reading, compared, class_names))
            drawn.append(_draw_all_pictures(model, pixels, reading))
    if rows:
        drawn.append(_draw_results(rows))
    figures = {name: figure for each in drawn for name, figure in each.figures.items()}
    for name, figure in progress(figures.items(), "Writing figures", unit="figure"):
        for kind in ("png", "svg"):
            write_bytes(folder / f"{name}.{kind}", page.encode(figure, kind, _DPI.value))
    parts = [f"<h1>{html.escape(title)}</h1>\n", *(part for each in drawn for part in each.parts)]
    write_text(folder / "index.html", page.page(title, parts))
    write_results(folder / "results.json", results)
    print(f"{len(figures)} figures: {folder / 'index.html'}")
    tell_refused(refused, len(pictures) + len(refused))


def _draw_results(rows: Sequence[Evaluation]) -> Drawn:
    figures = {
        f"accuracy_{words}": curves(rows, x, "top1")
        for x, words in (("gmacs", "multiply_adds"), ("images_per_second", "throughput"))
    }
    return Drawn(list(comparison(rows)), figures)


def _draw_pictures(
    model: VisionTransformer,
    pictures: Sequence[Picture],
    reading: AttentionReading,
    compared: Mapping[str, PruningConfig],
    class_names: Sequence[str] | None,
) -> Drawn:
    """A card for each image, and the figures of its entropy and of what is kept of it."""
    pixels = np.stack([picture.pixels for picture in pictures])
    by_picture, shown = [[] for _ in pictures], 0
    if compared:
        by_picture, shown = read_rows(model, pixels, compared, _KEEP_RATES.value, class_names)
    parts = [f'<p class="note">{_EXPLANATION}</p>\n']
    figures = {}
    for place, (picture, rows) in enumerate(zip(pictures, by_picture)):
        entropies = Entropies(reading.maps[:, :, place], _ALPHAS.value)
        heading = html.escape(printable(picture.file.name))
        command = _predict(picture.file) if model.spec.num_classes else ""
        parts.append(
            photo_card(place, picture.pixels, heading, rows, shown, entropies, below=command)
        )
        figures[f"{picture.name}_entropy"] = entropy_panels(picture.pixels, *entropies)
        if rows:
            kept = {row.name: row.stops[shown].stages for row in rows}
            figures[f"{picture.name}_kept"] = kept_panels(picture.pixels, kept)
    return Drawn(parts, figures)


_EXPLANATION = (
    "Striped patches are dropped; of patches that are merged, one stands for all. The slider shows "
    "what is left at other keep rates, at each of which the model was run. Maps are coloured by "
    "what each pruned block judged the patches by that entered it. Point at a patch for its value "
    "and for the block that drops it."
)


def _predict(file: Path) -> str:
    """The command that classifies the image with the same model."""
    own = {flag.name for flag in _OWN}
    given = {name: flags.FLAGS[name] for name in flags.FLAGS if flags.FLAGS[name].present}
    of_model = [flag.serialize() for name, flag in given.items() if name not in own]
    return page.command(
        "python", "-m", "renyi_jax.predict", *of_model, f"--image={printable(file)}"
    )


def _compared(model: VisionTransformer) -> dict[str, PruningConfig]:
    """The model's pruning, and that by each of --criteria, by their names.

    Raises UserError: the model cannot be pruned by one that was asked for; a default is left out.
    """
    if model.pruning is None:
        return {}
    compared = {name_of_pruning(model.pruning): model.pruning}
    for criterion in _CRITERIA.value:
        setting = dataclasses.replace(prunes_by_score(model.pruning), criterion=criterion)
        try:
            check_blocks(setting, model.spec)
        except UserError:
            if _CRITERIA.present:
                raise
            continue
        compared.setdefault(text_of(criterion), setting)
    return compared


def _draw_all_pictures(
    model: VisionTransformer, pixels: np.ndarray, reading: AttentionReading
) -> Drawn:
    """How entropy is spread over all images, and how it goes with distance."""
    figures = attention_figures(model, pixels, reading, _ALPHAS.value)
    plots = [page.plot(figure, CAPTIONS[name]) for name, figure in figures.items()]
    return Drawn(["<h2>All images together</h2>\n", page.grid("two", plots)], figures)


def _means(reading: AttentionReading, alphas: Sequence[float]) -> dict[str, Any]:
    """The numbers behind the figures, by block and head, for `write_results`."""
    return {
        "attention_distance_pixels": reading.distances.tolist(),
        "entropy_nats": [
            {
                "alpha": alpha,
                "by_block_and_head": entropy.tolist(),
                "correlation_with_distance": correlation(entropy, reading.distances),
            }
            for alpha, entropy in zip(alphas, reading.entropies)
        ],
    }


if __name__ == "__main__":
    commands.run(main, parse_images)
