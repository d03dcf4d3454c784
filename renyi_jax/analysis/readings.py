"""What a model does with a few images, as the arrays that figures draw."""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from renyi_jax.analysis.patch_maps import StageMap, stage_maps
from renyi_jax.analysis.photo import Row, Stop
from renyi_jax.analysis.style import text_of
from renyi_jax.common.progress import progress
from renyi_jax.errors import UserError
from renyi_jax.models import Forward, VisionTransformer, attention_statistics, weights_of
from renyi_jax.pruning import PruningConfig
from renyi_jax.pruning.sweep import describe, keep_words

Pixels = UInt8[np.ndarray, "b height width 3"]


@dataclasses.dataclass(frozen=True)
class AttentionReading:
    """The attention of a model without pruning, over some images."""

    # entropy of every patch, mean over heads, in nats
    maps: Float[np.ndarray, "orders blocks b rows columns"]
    # of every head, mean over patches and images, in nats
    entropies: Float[np.ndarray, "orders blocks heads"]
    distances: Float[np.ndarray, "blocks heads"]  # that attention reaches, likewise, in pixels


class Decision(NamedTuple):
    """The maps of the pruned blocks, and the class probabilities (empty without a classifier)."""

    stages: list[StageMap]
    probabilities: Float[np.ndarray, "classes"]


def read_attention(
    model: VisionTransformer, pixels: Pixels, alphas: Sequence[float]
) -> AttentionReading:
    """Reads the attention of the model without its pruning, one image at a time to save memory."""
    spec, plain = model.spec, model.with_pruning(None)
    maps, entropies, distances = [], [], []
    for image in progress(pixels, "Reading attention", unit="image"):
        blocks = attention_statistics(plain, image[None], alphas)
        each = np.stack([block.entropies[:, 0] for block in blocks], axis=1)
        maps.append(each.mean(axis=2).reshape(*each.shape[:2], *spec.grid_size))
        entropies.append(each.mean(axis=-1))
        distances.append(np.stack([block.distances[0].mean(axis=-1) for block in blocks]))
    return AttentionReading(
        np.stack(maps, axis=2), np.mean(entropies, axis=0), np.mean(distances, axis=0)
    )


def read_decisions(
    model: VisionTransformer, pixels: Pixels, settings: Sequence[PruningConfig | None]
) -> list[list[Decision]]:
    """Returns what the model decides, for each setting and image.

    Settings that differ in alpha alone are compiled once. Images go one at a time.
    """
    weights = weights_of(model)
    found = []
    for setting in progress(settings, "Reading prunings", unit="pruning"):
        program = setting and dataclasses.replace(setting, alpha=1.0)
        forward = Forward.of(model.with_pruning(program))
        alphas = jnp.asarray(setting.per_block("alpha") if setting else (), jnp.float32)
        of_images = (
            jax.device_get(_run(forward, weights, each, alphas)) for each in pixels[:, None]
        )
        found.append([_decision(model, setting, *each) for each in of_images])
    return found


def read_pruning(
    model: VisionTransformer, pixels: Pixels, settings: Sequence[PruningConfig]
) -> list[list[list[StageMap]]]:
    """The maps alone of `read_decisions`."""
    decisions = read_decisions(model, pixels, settings)
    return [[decision.stages for decision in of_setting] for of_setting in decisions]


def prunes_by_score(pruning: PruningConfig) -> PruningConfig:
    """As much pruned in the same blocks, but in a way that any criterion can."""
    if not pruning.ranks:
        return PruningConfig(keep_rate=pruning.keep_rate, blocks=pruning.blocks)
    return dataclasses.replace(pruning, keep_mass=1.0, reverse=False)


def read_rows(
    model: VisionTransformer,
    pixels: Pixels,
    prunings: Mapping[str, PruningConfig],
    keep_rates: Sequence[float],
    class_names: Sequence[str] | None,
) -> tuple[list[list[Row]], int]:
    """Reads what the prunings, by the names of their rows, make of each image.

    Each is run at its own keep rate and at `keep_rates`, as far as the first can be. Returns the
    rows of each image, and the index of the prunings' own keep rate among their stops.
    """
    first = next(iter(prunings.values()))
    own = float(np.mean(first.keep_rate))
    changes: list[tuple[float, dict[str, Any]]] = [(own, {})]
    for rate in keep_rates:
        change = {"keep_rate": rate, "r": None}
        with contextlib.suppress(UserError):  # a merge leaves at least half of the patches
            if dataclasses.replace(first, **change) != first:
                changes.append((rate, change))
    changes.sort(key=lambda change: change[0])
    settings = [
        dataclasses.replace(pruning, **fields)
        for pruning in prunings.values()
        for _, fields in changes
    ]
    by_setting = read_decisions(model, pixels, settings)
    rows = []
    for picture in range(len(pixels)):
        stops = []
        for setting, decisions in zip(settings, by_setting):
            decision, rate = decisions[picture], keep_words(describe(setting))
            stops.append(Stop(rate, decision.stages, answer(decision, class_names)))
        count = len(changes)
        starts = range(0, len(stops), count)
        rows.append([Row(name, stops[n : n + count]) for name, n in zip(prunings, starts)])
    return rows, [fields for _, fields in changes].index({})


def name_of_pruning(pruning: PruningConfig) -> str:
    """What tells a pruning from one by another criterion alone."""
    if not pruning.ranks:
        return text_of(pruning.reducer)
    mass = f", mass {text_of(pruning.keep_mass)}" if pruning.adapts else ""
    return text_of(pruning.criterion) + mass


def answer(decision: Decision, class_names: Sequence[str] | None) -> str:
    """The most probable class, in words; nothing where the model has no classes."""
    if not decision.probabilities.size:
        return ""
    best = int(decision.probabilities.argmax())
    return f"predicted {name_of_class(best, class_names)}, {decision.probabilities[best]:.0%}"


def name_of_class(which: int, class_names: Sequence[str] | None) -> str:
    """A model may have more classes than there are names."""
    names = class_names or ()
    return names[which] if which < len(names) else f"class {which}"


def _decision(model: VisionTransformer, setting: PruningConfig | None, outputs, trace) -> Decision:
    stages = stage_maps(setting, trace, model.spec.grid_size, 0) if setting else []
    return Decision(stages, outputs[0] if model.spec.num_classes else outputs[0, :0])


@functools.partial(jax.jit, static_argnums=0)
def _run(forward: Forward, weights: Any, pixels, alphas):
    outputs, trace = forward(weights, pixels, alphas, return_trace=True)
    return jax.nn.softmax(outputs), trace
