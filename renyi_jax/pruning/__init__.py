"""Which patches to keep: a score per patch, a static count, and what becomes of the rest."""

from renyi_jax.pruning.config import MERGE, PruningConfig, PruningStage
from renyi_jax.pruning.criteria import CRITERIA, Criterion, cls_attention, score_patches
from renyi_jax.pruning.keep import keep_count, keep_counts, select, select_mass
from renyi_jax.pruning.merging import KEY_SIMILARITY, Matching, match, merge
from renyi_jax.pruning.reducers import REDUCERS, Reducer

__all__ = [
    "CRITERIA",
    "KEY_SIMILARITY",
    "MERGE",
    "REDUCERS",
    "Criterion",
    "Matching",
    "PruningConfig",
    "PruningStage",
    "Reducer",
    "cls_attention",
    "keep_count",
    "keep_counts",
    "match",
    "merge",
    "score_patches",
    "select",
    "select_mass",
]
