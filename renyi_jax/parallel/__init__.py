"""One mesh of devices, what lies where on it, and the start of a run of several processes."""

from renyi_jax.parallel.mesh import (
    AXES,
    BATCH_AXES,
    RULES,
    BatchPlacement,
    check_spread,
    constrain,
    make_mesh,
    on_mesh,
    per_shard,
    put,
    replicated,
    shared_batch,
    spread,
    state_shardings,
)
from renyi_jax.parallel.processes import all_or_none, join_processes
