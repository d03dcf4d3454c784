"""Which patches to keep: a score per patch, a static count, and what becomes of the rest."""

from renyi_jax.pruning.config import PruningConfig, PruningStage
from renyi_jax.pruning.criteria import CRITERIA, Criterion, cls_attention, score_patches
from renyi_jax.pruning.keep import keep_count, keep_counts, select
from renyi_jax.pruning.reducers import REDUCERS, Reducer

__all__ = [
    "CRITERIA",
    "REDUCERS",
    "Criterion",
    "PruningConfig",
    "PruningStage",
    "Reducer",
    "cls_attention",
    "keep_count",
    "keep_counts",
    "score_patches",
    "select",
]
