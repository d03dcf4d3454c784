"""One mesh of devices, what lies where on it, and the start of a run of several processes."""

from renyi_jax.parallel.batches import BatchPlacement, check_spread, spread
from renyi_jax.parallel.mesh import (
    AXES,
    BATCH_AXES,
    constrain,
    make_mesh,
    on_mesh,
    per_shard,
    put,
    replicated,
)
from renyi_jax.parallel.processes import all_or_none, join_processes
from renyi_jax.parallel.rules import RULES, state_shardings
