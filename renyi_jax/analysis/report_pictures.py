"""The test images of a report: what the model keeps of them, and what its attention is like."""

import dataclasses
import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from renyi_jax.analysis import page
from renyi_jax.analysis.distributions import depth_figure, entropy_histograms
from renyi_jax.analysis.panels import entropy_panels, pruning_panels
from renyi_jax.analysis.patch_maps import StageMap, stage_maps
from renyi_jax.analysis.pictures import read_attention, read_pruning
from renyi_jax.data import Dataset, eval_loader
from renyi_jax.models import (
    PruningTrace,
    VisionTransformer,
    normalize_images,
    patches_on_object,
)

NUM_EXAMPLES = 8
NUM_MAPS = 2
ALPHAS = (1.0, 2.0, 4.0)

Batch = Mapping[str, Any]


def first_batch(model: VisionTransformer, dataset: Dataset, config: Any) -> Batch:
    """The first test images, as they are evaluated."""
    loader = eval_loader(
        dataset,
        batch_size=NUM_EXAMPLES,
        image_size=model.spec.image_size,
        crop_pct=config.data.crop_pct or model.spec.crop_pct,
    )
    return next(iter(loader))


def examples(model: VisionTransformer, dataset: Dataset, batch: Batch) -> Iterator[str]:
    """One picture for each image: its patches on the way through the pruned blocks."""
    spec, pruning = model.spec, model.pruning
    assert pruning is not None
    images = normalize_images(jnp.asarray(batch["image"]), spec.mean, spec.std)
    logits, trace = jax.device_get(_traced(model, images))
    shown = np.flatnonzero(batch["valid"]).tolist()
    maps = {image: stage_maps(pruning, trace, spec.grid_size, image) for image in shown}
    limits = _limits(maps.values())
    on_object = None
    if dataset.has_object_masks:
        masks = patches_on_object(jnp.asarray(batch["object_mask"]), spec.patch_size)
        on_object = np.asarray(masks).reshape(-1, *spec.grid_size)
    for image, stages in maps.items():
        label, predicted = (
            _class_name(dataset, which)
            for which in (int(batch["label"][image]), int(logits[image].argmax()))
        )
        right = label == predicted
        verdict = f"{'✓' if right else '✗'} predicted {html.escape(predicted)}"
        yield page.picture(
            pruning_panels(
                batch["image"][image],
                stages,
                limits,
                None if on_object is None else on_object[image],
            ),
            f"Test image of class {label}: the scores of its patches in each pruned block, and "
            "the patches left.",
            f"<strong>{html.escape(label)}</strong> · "
            f'<span class="{"good" if right else "bad"}">{verdict}</span>',
            vector=False,
        )


def attention(model: VisionTransformer, batch: Batch) -> Iterator[str]:
    """Maps of the entropy in every block, its histograms, and how it goes with distance."""
    pixels = batch["image"][batch["valid"]]
    reading = read_attention(model, pixels, ALPHAS)
    order = ALPHAS.index(2.0)
    for number in range(min(NUM_MAPS, len(pixels))):
        yield page.picture(
            entropy_panels(pixels[number], reading.maps[order:, :, number][:1], ALPHAS[order:][:1]),
            "The entropy of the attention that each patch pays, in every block.",
            vector=False,
        )
    if model.pruning is not None:
        settings = [
            dataclasses.replace(model.pruning, criterion="renyi", alpha=alpha) for alpha in ALPHAS
        ]
        by_order = dict(zip(ALPHAS, read_pruning(model, pixels, settings)))
        yield page.picture(
            entropy_histograms(by_order),
            "Histograms of the entropy of the patches kept and dropped by it, by block and order.",
        )
    yield page.picture(
        depth_figure(reading.entropies, reading.distances, ALPHAS),
        "Mean entropy and mean distance of attention, by block and head, and their correlation.",
    )


def _traced(model: VisionTransformer, images: Array) -> tuple[Array, tuple[PruningTrace, ...]]:
    """Logits and what each pruned block decided."""
    graphdef, params = nnx.split(model)
    forward = jax.jit(lambda params, images: nnx.merge(graphdef, params)(images, return_trace=True))
    return forward(params, images)


def _limits(maps: Iterable[Sequence[StageMap]]) -> list[tuple[float, float]]:
    """The range of each block's values over all images."""
    by_stage = zip(*maps)
    values = [np.stack([stage.values for stage in stages]) for stages in by_stage]
    return [(float(np.nanmin(each)), float(np.nanmax(each))) for each in values]


def _class_name(dataset: Dataset, which: int) -> str:
    """A model may have more classes than the data set."""
    names = dataset.class_names
    return names[which] if which < len(names) else f"class {which}"
