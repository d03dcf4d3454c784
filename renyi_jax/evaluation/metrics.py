"""What one batch adds to the counts behind every accuracy and share."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Counts(NamedTuple):
    """Sums over the test images seen so far, as int32 scalars.

    Attributes:
        examples: images.
        top1: images whose label has the highest logit; ties go to the lower class.
        top5: images whose label is among the five highest, or among all where there are fewer.
        patches: patches left after the last pruned block; a fused token is none.
        patches_on_object: those of them that lie on the labelled object.
    """

    examples: Int[Array, ""]
    top1: Int[Array, ""]
    top5: Int[Array, ""]
    patches: Int[Array, ""]
    patches_on_object: Int[Array, ""]

    @classmethod
    def zero(cls) -> "Counts":
        return cls(*(jnp.zeros((), jnp.int32) for _ in cls._fields))


def count_batch(
    logits: Float[Array, "b classes"],
    labels: Int[Array, "b"],
    valid: Bool[Array, "b"],
    positions: Int[Array, "b k"],
    on_object: Bool[Array, "b n"] | None,
) -> Counts:
    """The counts of one batch.

    Args:
        logits: of the model.
        labels: true classes.
        valid: False for the images that only fill up the batch; they count for nothing.
        positions: the patches left after the last pruned block, as positions in the patch grid;
            below 0 for tokens that are no patch.
        on_object: whether each patch lies on the object, or None where the objects are not known.
    """
    _, ranked = jax.lax.top_k(logits, min(5, logits.shape[1]))
    hits = ranked == labels[:, None]
    is_patch = (positions >= 0) & valid[:, None]
    if on_object is None:
        is_on_object = jnp.zeros_like(is_patch)
    else:
        is_on_object = is_patch & jnp.take_along_axis(on_object, jnp.maximum(positions, 0), axis=1)

    def total(flags: Bool[Array, "..."]) -> Int[Array, ""]:
        return jnp.sum(flags, dtype=jnp.int32)

    return Counts(
        examples=total(valid),
        top1=total(hits[:, 0] & valid),
        top5=total(hits.any(axis=1) & valid),
        patches=total(is_patch),
        patches_on_object=total(is_on_object),
    )
