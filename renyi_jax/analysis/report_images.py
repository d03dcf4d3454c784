"""The test images of a report: what the model keeps of them, and what its attention is like."""

import html
from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from renyi_jax.analysis import page
from renyi_jax.analysis.distributions import CAPTIONS, attention_figures
from renyi_jax.analysis.photo import Entropies, photo_card
from renyi_jax.analysis.readings import (
    name_of_class,
    name_of_pruning,
    read_attention,
    read_decisions,
    read_rows,
)
from renyi_jax.analysis.results import Evaluation
from renyi_jax.data import Dataset
from renyi_jax.data.pipeline import eval_loader
from renyi_jax.models import VisionTransformer, patches_on_object

NUM_LOOKED_AT = 32
NUM_SHOWN = 8
ALPHAS = (1.0, 2.0, 4.0)


def pictures(
    model: VisionTransformer, dataset: Dataset, config: Any, rows: Sequence[Evaluation]
) -> Iterator[str]:
    """Yields some of the first test images, mistakes first, and the attention of the model to them.

    The sliders offer the keep rates of `rows`.
    """
    spec, pruning, names = model.spec, model.pruning, dataset.class_names
    loader = eval_loader(
        dataset,
        batch_size=NUM_LOOKED_AT,
        image_size=spec.image_size,
        crop_pct=config.data.crop_pct or spec.crop_pct,
        interpolation=spec.interpolation,
    )
    batch = next(iter(loader))
    batch = {name: values[batch["valid"]] for name, values in batch.items()}
    (decisions,) = read_decisions(model, batch["image"], [pruning])
    labels = batch["label"].tolist()
    predicted = [int(decision.probabilities.argmax()) for decision in decisions]
    order = mistakes_first(labels, predicted)
    pixels = batch["image"][order]
    by_picture: list[list] = [[] for _ in order]
    shown = 0
    if pruning is not None:
        compared = {name_of_pruning(pruning): pruning}
        by_picture, shown = read_rows(model, pixels, compared, evaluated_rates(rows), names)
    on_object = [None] * len(order)
    if dataset.has_object_masks:
        masks = patches_on_object(jnp.asarray(batch["object_mask"][order]), spec.patch_size)
        on_object = list(np.asarray(masks).reshape(-1, *spec.grid_size))
    reading = read_attention(model, pixels, ALPHAS)

    wrong = sum(label != guess for label, guess in zip(labels, predicted))
    yield "<h2>What it keeps</h2>\n"
    yield (
        f'<p class="note">Of the first {len(labels)} test images it takes {wrong} for another class'
        f"; mistakes come first, and of them at most {NUM_SHOWN // 2} are shown. Striped patches"
        " are dropped. The slider shows what the model keeps at other keep rates, each of which"
        " was run; maps are coloured by what each pruned block judged the patches by that entered"
        " it.</p>\n"
    )
    for number, place in enumerate(order):
        right = labels[place] == predicted[place]
        verdict = f"{'✓' if right else '✗'} predicted {name_of_class(predicted[place], names)}"
        yield photo_card(
            number,
            pixels[number],
            f"{html.escape(name_of_class(labels[place], names))} · "
            f'<span class="{"good" if right else "bad"}">{html.escape(verdict)}</span>',
            by_picture[number],
            shown,
            Entropies(reading.maps[:, :, number], ALPHAS),
            on_object=on_object[number],
        )
    yield "<h2>What its attention is like</h2>\n"
    yield (
        '<p class="note">On these images: how the entropy of the attention that patches pay is'
        " spread where patches are dropped, and, without dropping any, how it goes with the"
        " distance that attention reaches.</p>\n"
    )
    figures = attention_figures(model, pixels, reading, ALPHAS)
    yield page.grid("two", [page.plot(each, CAPTIONS[name]) for name, each in figures.items()])


def mistakes_first(labels: Sequence[int], predicted: Sequence[int]) -> list[int]:
    """The places of the images to show: mistakes first, but no more than half if others are
    there."""
    wrong = [n for n, (label, guess) in enumerate(zip(labels, predicted)) if label != guess]
    right = [n for n in range(len(labels)) if n not in wrong]
    num_right = min(len(right), max(NUM_SHOWN // 2, NUM_SHOWN - len(wrong)))
    return wrong[: NUM_SHOWN - num_right] + right[:num_right]


def evaluated_rates(rows: Sequence[Evaluation]) -> list[float]:
    """The keep rates below 1 that rows have in all blocks alike."""
    rates = {row["keep_rate"] for row in rows if isinstance(row["keep_rate"], int | float)}
    return sorted(float(rate) for rate in rates if rate < 1)
