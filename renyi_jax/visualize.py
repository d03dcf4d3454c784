"""Draws what pruning sees and does, as PNG, SVG and one page.

For each picture: the entropy of its patches in every block, for every order of --alphas, and the
patches that each of --criteria keeps. For all pictures together: how entropy is spread and where it
is cut, and how it goes with the distance that attention reaches. From the results.json of
renyi_jax.main or renyi_jax.evaluate: accuracy against multiply-adds and against throughput.

  python -m renyi_jax.visualize --model=vit_small_patch14_dinov2 --weights=dinov2.safetensors \\
      --image_size=392 --alphas=1,2,4 --criteria=renyi,cls_attention --out=figures --image *.jpg
  python -m renyi_jax.visualize --results=runs/quickstart/results.json --out=figures

It writes results.json too: the means behind the figures.
"""

import dataclasses
import html
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from renyi_jax.analysis import page
from renyi_jax.analysis.distributions import correlation, depth_figure, entropy_histograms
from renyi_jax.analysis.figures import curves, read_results
from renyi_jax.analysis.panels import entropy_panels, kept_panels
from renyi_jax.analysis.pictures import AttentionReading, read_attention, read_pruning
from renyi_jax.analysis.style import text_of
from renyi_jax.cli import commands
from renyi_jax.cli.images import define_images, find_images, parse_images, tell_refused
from renyi_jax.cli.model import define_model
from renyi_jax.cli.values import define
from renyi_jax.config_fields import integer, number, several
from renyi_jax.errors import UserError
from renyi_jax.files import output_folder, write_bytes, write_text
from renyi_jax.inference import crop_picture, describe, read_picture
from renyi_jax.models import VisionTransformer
from renyi_jax.progress import progress
from renyi_jax.provenance import write_results
from renyi_jax.pruning import MERGE, PruningConfig

_load_model = define_model(required=False)
_IMAGES = define_images()
_ALPHAS = define(
    "alphas", several((1.0, 2.0, 4.0), number(1, "(0, inf]")), "Orders of the entropy to draw."
)
_CRITERIA = flags.DEFINE_list(
    "criteria",
    ["renyi", "cls_attention"],
    "Whose kept patches are drawn, beside --criterion's; with slashes between the blocks where one"
    " changes.",
)
_RESULTS = flags.DEFINE_string("results", None, "A results.json with evaluations.")
_OUT = flags.DEFINE_string("out", None, "Folder of the figures.", required=True)
_DPI = define("dpi", integer(140, 20, 1200), "Of the PNG files.")


class Drawn(NamedTuple):
    """A figure, the name of its files, and what it shows."""

    name: str
    figure: Figure
    caption: str


def main() -> None:
    if not _IMAGES.value and not _RESULTS.value:
        raise UserError("Nothing to draw: give --image=FILE, or --results=FILE, or both.")
    folder = output_folder("--out", _OUT.value)
    drawn = list(_draw_results(Path(_RESULTS.value))) if _RESULTS.value else []
    results: dict[str, Any] = {}
    refused: list[UserError] = []
    pictures: dict[str, np.ndarray] = {}
    if _IMAGES.value:
        alphas = _ALPHAS.value
        files, refused = find_images(_IMAGES.value)
        model = _load_model().model
        for file in files:
            try:
                picture = crop_picture(
                    read_picture(file), model.spec.image_size, model.spec.crop_pct
                )
                pictures[f"{len(pictures) + 1:02d}_{file.stem}"] = picture
            except UserError as error:
                refused.append(error)
        if pictures:
            reading = read_attention(model, np.stack(list(pictures.values())), alphas)
            results = {"model": describe(model), **_means(reading, alphas)}
            drawn += _draw_pictures(model, pictures, reading, alphas)
    title = f"What pruning does in {results['model']['model']}" if results else "Pruning compared"
    parts = [f"<h1>{html.escape(title)}</h1>\n"]
    for each in progress(drawn, "Writing figures", unit="figure"):
        for kind in ("png", "svg"):
            write_bytes(folder / f"{each.name}.{kind}", page.encode(each.figure, kind, _DPI.value))
        parts.append(page.picture(each.figure, each.caption, html.escape(each.caption), False))
    write_text(folder / "index.html", page.page(title, parts))
    write_results(folder / "results.json", results)
    print(f"{len(drawn)} figures: {folder / 'index.html'}")
    tell_refused(refused, len(pictures) + len(refused))


def _draw_results(file: Path) -> Iterator[Drawn]:
    rows = read_results(file)
    for x, words in (("gmacs", "multiply-adds"), ("images_per_second", "throughput")):
        yield Drawn(
            f"accuracy_{words.replace('-', '_')}",
            curves(rows, x, "top1"),
            f"Top-1 accuracy over {words}, one line for each criterion.",
        )


def _draw_pictures(
    model: VisionTransformer,
    pictures: Mapping[str, np.ndarray],
    reading: AttentionReading,
    alphas: Sequence[float],
) -> Iterator[Drawn]:
    for place, (name, pixels) in enumerate(pictures.items()):
        yield Drawn(
            f"{name}_entropy",
            entropy_panels(pixels, reading.maps[:, :, place], alphas),
            f"{name}: the entropy of the attention that each patch pays, mean over heads.",
        )
    if model.pruning is not None:
        yield from _draw_pruning(model, model.pruning, pictures, alphas)
    yield Drawn(
        "entropy_and_distance",
        depth_figure(reading.entropies, reading.distances, alphas),
        "Entropy of attention, and the distance that it reaches, by block and head.",
    )


def _draw_pruning(
    model: VisionTransformer,
    pruning: PruningConfig,
    pictures: Mapping[str, np.ndarray],
    alphas: Sequence[float],
) -> Iterator[Drawn]:
    pixels = np.stack(list(pictures.values()))
    scoring = _by_scores(pruning)
    merges = pruning.reducer == MERGE
    compared = {_name(pruning): pruning}
    for name in _CRITERIA.value:
        criterion = tuple(name.split("/")) if "/" in name else name
        setting = dataclasses.replace(scoring, criterion=criterion)
        compared.setdefault(text_of(criterion), setting)
    by_criterion = dict(zip(compared, read_pruning(model, pixels, list(compared.values()))))
    for place, (name, picture) in enumerate(pictures.items()):
        yield Drawn(
            f"{name}_kept",
            kept_panels(picture, {each: maps[place] for each, maps in by_criterion.items()}),
            f"{name}: the patches left after each pruned block, one row for each criterion."
            + (" Of patches that are merged, one stands for all." if merges else ""),
        )
    settings = [dataclasses.replace(scoring, criterion="renyi", alpha=alpha) for alpha in alphas]
    yield Drawn(
        "entropy_histograms",
        entropy_histograms(dict(zip(alphas, read_pruning(model, pixels, settings)))),
        "The entropy of the patches that enter each pruned block, and where it is cut.",
    )


def _name(pruning: PruningConfig) -> str:
    """What tells a pruning from one by another criterion alone."""
    if pruning.reducer == MERGE:
        return MERGE
    adapts = any(mass < 1 for mass in pruning.per_block("keep_mass"))
    return text_of(pruning.criterion) + (f", mass {text_of(pruning.keep_mass)}" if adapts else "")


def _by_scores(pruning: PruningConfig) -> PruningConfig:
    """As much is pruned in the same blocks, but in a way that any criterion can."""
    rate = pruning.keep_rate
    if pruning.reducer == MERGE:
        return PruningConfig(keep_rate=rate, blocks=pruning.blocks)
    return dataclasses.replace(pruning, keep_mass=1.0, reverse=False)


def _means(reading: AttentionReading, alphas: Sequence[float]) -> dict[str, Any]:
    """The numbers behind the figures, by block and head."""
    return {
        "attention_distance_pixels": reading.distances.tolist(),
        "entropy_nats": [
            {
                "alpha": "inf" if alpha == float("inf") else alpha,
                "by_block_and_head": entropy.tolist(),
                "correlation_with_distance": _finite(correlation(entropy, reading.distances)),
            }
            for alpha, entropy in zip(alphas, reading.entropies)
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


if __name__ == "__main__":
    commands.run(main, parse_images)
