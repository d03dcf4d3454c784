"""Of the features of an encoder those worth handing on, to a language model or a decoder."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from renyi_jax.attention import Evidence
from renyi_jax.errors import UserError
from renyi_jax.pruning.config import PruningConfig
from renyi_jax.pruning.criteria import CRITERIA, DEFAULT_CRITERION
from renyi_jax.pruning.keep import select


class SelectedTokens(NamedTuple):
    """The patches that are kept of each image."""

    values: Float[Array, "b k d"]  # their features
    positions: Int[Array, "b k"]  # their places in the grid of patches, row by row and ascending


def select_tokens(
    features: Float[Array, "b n d"],
    scores: Float[Array, "b m"] | Evidence,
    count: int,
    criterion: str = DEFAULT_CRITERION,
) -> SelectedTokens:
    """Selects the `count` patches with the highest scores, in their order in the image.

    Args:
        features: of an encoder, prefix tokens first, which are left out: the last `m` are patches,
            each in its place.
        scores: one for each patch, the higher the more important; or what the attention of a block
            told, which `criterion` scores.
        count: patches that are kept of each image; a Python integer, as shapes depend on it.
        criterion: one of `CRITERIA`; of an entropy, its order is that of the evidence.

    Raises:
        UserError: there are more scores than features, or fewer patches than `count`, or the
            criterion is unknown or reads what the evidence does not have.
    """
    if isinstance(scores, Evidence):
        scores = _score(scores, criterion)
    length, patches = features.shape[1], scores.shape[1]
    if patches > length:
        raise UserError(
            f"There are scores of {patches} patches, and features of {length} tokens; expected a"
            " score for each patch, and no fewer tokens."
        )
    if not 1 <= count <= patches:
        raise UserError(f"count must lie between 1 and the {patches} patches, got {count}.")
    positions = select(scores, count)
    places = positions + (length - patches)
    return SelectedTokens(jnp.take_along_axis(features, places[..., None], axis=1), positions)


def _score(evidence: Evidence, criterion: str) -> Float[Array, "b m"]:
    (stage,) = PruningConfig(criterion=criterion, blocks=(1,)).stages
    wanted = stage.needs()._asdict()
    missing = [
        name for name, is_needed in wanted.items() if is_needed and getattr(evidence, name) is None
    ]
    if missing:
        raise UserError(
            f"criterion {criterion!r} reads {missing[0]}, which the evidence does not have."
        )
    row = CRITERIA[stage.criterion]
    return row.score(evidence, **{name: getattr(stage, name) for name in row.takes})
