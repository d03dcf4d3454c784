"""Devices for which XLA compiles, and which need not be there."""

import os
from typing import Any

import jax
from jax.experimental import topologies

from renyi_jax.errors import UserError

_COMPILER_ALONE = {
    "TPU_SKIP_MDS_QUERY": "1",  # do not look for the machine's own TPUs
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "3",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # nothing of the hardware is taken
}


def stand_in_devices(topology: str) -> list[Any]:
    """Stand-ins for the chips of a slice, as v5e:4x4.

    This process runs its own arrays on the CPU from now on, and keeps no compilations: those that
    are kept lack XLA's analyses.

    Raises:
        UserError: there is no compiler for TPUs, or it does not take the topology.
    """
    os.environ |= _COMPILER_ALONE
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    # Of a chip with two cores, JAX sees one device.
    options = {"chip_config_name": "megacore"} if topology.startswith("v4:") else {}
    try:
        return topologies.get_topology_desc(topology, platform="tpu", **options).devices
    except (
        Exception
    ) as error:  # The plugin raises what it likes, where there is none or it differs.
        raise UserError(
            f"--topology={topology}: the compiler does not take it ({str(error).splitlines()[0]})."
            " It comes with: pip install -r requirements-tpu.txt"
        ) from error
