"""Which patches to keep: a score per patch, a static count, and what becomes of the rest."""

from renyi_jax.pruning.config import OPTIONS, PruningConfig, to_json
from renyi_jax.pruning.criteria import CRITERIA, DEFAULT_CRITERION, DRAWN, PUBLISHED, Criterion
from renyi_jax.pruning.keep import keep_count, keep_counts, select, select_mass
from renyi_jax.pruning.merging import Matching, match, merge_by_size
from renyi_jax.pruning.reducers import REDUCERS, Reducer, Selection, drop
from renyi_jax.pruning.select_tokens import SelectedTokens, select_tokens
from renyi_jax.pruning.stage import Option, Stage
from renyi_jax.pruning.tokens import FUSED, MASKED, PruningTrace, Record, Tokens, on_grid
