"""The start of a run of several processes."""

import os

import jax
from absl import logging

from renyi_jax.errors import UserError

# Of each launcher that JAX can ask who takes part: what tells that there are several processes.
_LAUNCHERS = {
    "Slurm": lambda env: "SLURM_PROCID" in env and int(env.get("SLURM_NTASKS", 1)) > 1,
    "Cloud TPU": lambda env: "," in env.get("TPU_WORKER_HOSTNAMES", ""),
    "Open MPI": lambda env: int(env.get("OMPI_COMM_WORLD_SIZE", 1)) > 1,
}


def join_processes(
    distributed: bool = False,
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the other processes of a run, by `jax.distributed.initialize`, if there are others.

    To be called before JAX is asked for its devices.

    Args:
        distributed: join, and let JAX find out about the others. Where the environment tells of
            several processes (Slurm, a Cloud TPU slice on GKE, Open MPI), they join without it.
        coordinator_address: HOST:PORT of process 0, for any other cluster; with it come the two
            that follow.
        num_processes: of the run.
        process_id: of this one, from 0.

    Raises:
        UserError: only some of the three are given, or the others cannot be found or reached.
    """
    by_hand = {
        "coordinator_address": coordinator_address,
        "num_processes": num_processes,
        "process_id": process_id,
    }
    missing = [f"--{name}" for name, value in by_hand.items() if value is None]
    if 0 < len(missing) < len(by_hand):
        raise UserError(
            f"{', '.join(f'--{name}' for name in by_hand)} belong together; missing:"
            f" {', '.join(missing)}."
        )
    if num_processes is not None and not 0 <= process_id < num_processes:  # type: ignore[operator]
        raise UserError(
            f"--process_id={process_id}: expected 0 to {num_processes - 1}, below --num_processes."
        )
    launcher = next((name for name, tells in _LAUNCHERS.items() if tells(os.environ)), None)
    if missing and not distributed and launcher is None:
        return
    try:
        jax.distributed.initialize(coordinator_address, num_processes, process_id)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"Could not join the other processes of the run: {error}") from error
    logging.info(
        "Process %d of %d, %d devices here, %d in all.",
        *(jax.process_index(), jax.process_count()),
        *(jax.local_device_count(), jax.device_count()),
    )
