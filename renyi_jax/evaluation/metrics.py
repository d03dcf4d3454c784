"""What a model makes of every single image, and the numbers that follow from it."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from renyi_jax.pruning import MASKED, PruningConfig


class Outcomes(NamedTuple):
    """One entry per image: of a batch on the device, or of a whole test split as numpy arrays.

    Attributes:
        predicted: the class with the highest logit; ties go to the lower class.
        top1: whether it is the label; False where the logits are not finite.
        top5: whether the label is among the five highest, likewise.
        nll: the negative log likelihood of the label, in nats.
        kept: the patches that leave each pruned block, fused tokens not counted.
        on_object: of the patches left at the end, those on the labelled object; 0 if unknown.
        tokens: patches and merged or fused tokens that leave each pruned block, without masked
            ones.
    """

    predicted: Int[Array | np.ndarray, "b"]
    top1: Bool[Array | np.ndarray, "b"]
    top5: Bool[Array | np.ndarray, "b"]
    nll: Float[Array | np.ndarray, "b"]
    kept: Int[Array | np.ndarray, "b stages"]
    on_object: Int[Array | np.ndarray, "b"]
    tokens: Int[Array | np.ndarray, "b stages"]


def outcome_shapes(setting: PruningConfig | None) -> Outcomes:
    """The shapes and types of the outcomes of one image."""
    struct: Any = jax.ShapeDtypeStruct
    whole, stages = struct((), jnp.int32), (len(setting.blocks) if setting else 0,)
    truth, number = struct((), jnp.bool_), struct((), jnp.float32)
    counts = struct(stages, jnp.int32)
    return Outcomes(whole, truth, truth, number, counts, whole, counts)


def judge(
    logits: Float[Array, "b classes"],
    labels: Int[Array, "b"],
    positions: Sequence[Int[Array, "b _"]],
    on_object: Bool[Array, "b n"] | None,
) -> Outcomes:
    """Returns the outcomes of one batch.

    Args:
        positions: of the patches that leave each pruned block, in the patch grid; below 0 for
            tokens that are no patch.
        on_object: whether each patch lies on the object; None where that is not known.
    """
    _, ranked = jax.lax.top_k(logits, min(5, logits.shape[1]))
    log_likelihood = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
    hits = (ranked == labels[:, None]) & jnp.isfinite(log_likelihood)
    if on_object is None:
        is_on_object = jnp.zeros((len(labels), 1), bool)
    elif positions:
        last = positions[-1]
        is_on_object = jnp.take_along_axis(on_object, jnp.maximum(last, 0), axis=1) & (last >= 0)
    else:
        is_on_object = on_object
    return Outcomes(
        predicted=ranked[:, 0],
        top1=hits[:, 0],
        top5=hits.any(axis=1),
        nll=-log_likelihood[:, 0],
        kept=_counts([each >= 0 for each in positions], len(labels)),
        on_object=jnp.sum(is_on_object, axis=1, dtype=jnp.int32),
        tokens=_counts([each != MASKED for each in positions], len(labels)),
    )


def _counts(stages: Sequence[Bool[Array, "b _"]], images: int) -> Int[Array, "b stages"]:
    counts = [jnp.sum(each, axis=1, dtype=jnp.int32) for each in stages]
    return jnp.stack(counts, axis=1) if counts else jnp.zeros((images, 0), jnp.int32)


def summarize(
    outcomes: Outcomes, plain: Outcomes | None, *, num_patches: int, has_object_masks: bool
) -> dict[str, Any]:
    """Returns the metrics of one setting over the test split, as JSON holds them.

    Returns:
        `top1`, `top5`, `num_examples`, mean `nll` (None if not finite) and `mean_kept` (patches
            after each pruned block); with `plain`, the outcomes without pruning, `agreement`: the
            share of images that get the same class; with masks `kept_on_object`: the share of the
            patches left, over all images, that lie on the object.
    """
    number = len(outcomes.top1)
    nll = float(np.mean(outcomes.nll, dtype=np.float64))
    row = {
        "top1": float(np.mean(outcomes.top1)),
        "top5": float(np.mean(outcomes.top5)),
        "num_examples": number,
        "nll": nll if math.isfinite(nll) else None,
        "mean_kept": np.mean(outcomes.kept, axis=0, dtype=np.float64).tolist(),
    }
    if plain is not None:
        row["agreement"] = float(np.mean(outcomes.predicted == plain.predicted))
    if has_object_masks:
        left = outcomes.kept[:, -1].sum() if outcomes.kept.shape[1] else number * num_patches
        row["kept_on_object"] = float(outcomes.on_object.sum() / left)
    return row
