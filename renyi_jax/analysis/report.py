"""The report of a run: report/index.html, one page that shows what pruning did to the model."""

import html
from collections.abc import Iterator, Sequence

import jax
from etils import epath

from renyi_jax.analysis import page
from renyi_jax.analysis.comparison import comparison, criterion_words
from renyi_jax.analysis.report_images import pictures
from renyi_jax.analysis.results import Evaluation, is_plain, trained_row
from renyi_jax.analysis.style import text_of
from renyi_jax.common.files import json_text, write_text
from renyi_jax.config import Config
from renyi_jax.data import Dataset
from renyi_jax.models import VisionTransformer
from renyi_jax.pruning.sweep import keep_words


def write_report(
    folder: epath.PathLike,
    rows: Sequence[Evaluation],
    model: VisionTransformer,
    dataset: Dataset,
    config: Config,
    *,
    baseline: str = "none",
    weights: str | None = None,
) -> None:
    """Writes `folder`/report/index.html, whole or not at all.

    Args:
        rows: the evaluations of results.json.
        model: with its weights; its pruning is shown on the first test images.
        baseline: the criterion that the rows are compared with; "none" is the unpruned model.
        weights: what `renyi_jax.predict` loads; by default `folder`, or else those of the config.
    """
    folder = epath.Path(folder)
    if weights is None:
        is_trained_here = (folder / "model.safetensors").exists()
        weights = str(folder) if is_trained_here else config.model.weights
    title = f"{config.model.name} on {dataset.name}, pruned"
    parts = [
        f"<h1>{html.escape(title)}</h1>\n<p>{_summary(rows, model, dataset, config)}</p>\n",
        *comparison(rows, baseline),
        f'<p class="note">Measured on {html.escape(jax.devices()[0].device_kind)}, '
        f"JAX {jax.__version__}.</p>\n",
        *pictures(model, dataset, config, rows),
        *(_use(weights) if weights else ()),
        "<details><summary>The config of this run</summary>"
        f"<pre>{html.escape(json_text(config.to_dict(), indent=2))}</pre></details>\n",
    ]
    write_text(folder / "report" / "index.html", page.page(title, parts))


def _summary(
    rows: Sequence[Evaluation], model: VisionTransformer, dataset: Dataset, config: Config
) -> str:
    spec, train = model.spec, config.train
    height, width = spec.image_size
    weights = config.model.weights
    start = f"<code>{html.escape(weights)}</code>" if weights else "random weights"
    at_most = "at most " if train.patience else ""
    epochs = f"{at_most}{train.epochs} epoch{'s' if train.epochs > 1 else ''}"
    trained = trained_row(rows)
    vit = (
        f"A Vision Transformer of {spec.depth} blocks, {spec.embed_dim} wide, that sees "
        f"{height} × {width} pixels as {spec.num_patches} patches"
    )
    if trained is None:
        course = " was evaluated without further training"
    elif train.epochs:
        course = (
            f" was trained from {start} for {epochs} on the {len(dataset.train):,} training images"
            f" of {dataset.num_classes} classes{_pruned(trained, model)}"
        )
    else:
        head = f", and a head fitted to {len(dataset.train):,} training images" * train.probe
        course = f" was taken with {start} as they are{head}{_pruned(trained, model)}"
    images = rows[0].get("num_examples")
    on = "the test images" if images is None else f"{images:,} test images"
    return f"{vit},{course}. It was evaluated on {on} under every pruning below."


def _pruned(trained: Evaluation, model: VisionTransformer) -> str:
    if model.pruning is None or is_plain(trained):
        return ", without pruning"
    order = f", α = {text_of(trained['alpha'])}" if trained["alpha"] is not None else ""
    blocks = " and ".join(", ".join(map(str, model.pruning.blocks)).rsplit(", ", 1))
    plural = "s" if len(model.pruning.blocks) > 1 else ""
    rate = "" if trained.get("r") is not None else "keep rate "
    return (
        f", with its patches pruned in block{plural} {blocks} (criterion "
        f"{html.escape(criterion_words(trained))}{order}, {rate}{keep_words(trained)})"
    )


def _use(weights: str) -> Iterator[str]:
    yield "<h2>Use it</h2>\n"
    yield page.command(
        *("python", "-m", "renyi_jax.predict", f"--weights={weights}", "--image=photo.jpg")
    )
