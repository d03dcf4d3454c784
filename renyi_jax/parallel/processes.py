"""The start of a run of several processes."""

import os
import re
import socket
from collections.abc import Callable, Mapping

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from renyi_jax.errors import UserError

MAX_PROCESSES = 1 << 20

# Of each launcher that JAX can ask who takes part: what tells that there are several processes.
_LAUNCHERS = {
    "Slurm": lambda env: "SLURM_PROCID" in env and _count(env, "SLURM_NTASKS") > 1,
    "Cloud TPU": lambda env: "," in env.get("TPU_WORKER_HOSTNAMES", ""),
    "Open MPI": lambda env: _count(env, "OMPI_COMM_WORLD_SIZE") > 1,
}


def join_processes(
    distributed: bool = False,
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the other processes of a run, if there are any, before JAX is asked for its devices.

    Args:
        distributed: let JAX find the others; under Slurm, GKE's TPU slices and Open MPI they join
            without it.
        coordinator_address: HOST:PORT of process 0, on any other cluster; needs the other two.

    Raises UserError: only some of the three are given, one is wrong, or the others cannot be
    reached.
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
    if coordinator_address is not None and num_processes is not None and process_id is not None:
        _check_by_hand(coordinator_address, num_processes, process_id)
    launcher = next((name for name, tells in _LAUNCHERS.items() if tells(os.environ)), None)
    if missing and not distributed and launcher is None:
        return
    try:
        jax.distributed.initialize(coordinator_address, num_processes, process_id)
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"Could not join the other processes of the run: {reason}") from error
    logging.info(
        "Process %d of %d, %d devices here, %d in all.",
        *(jax.process_index(), jax.process_count()),
        *(jax.local_device_count(), jax.device_count()),
    )


def all_or_none(act: Callable[[], None]) -> None:
    """Runs `act` in process 0 for all; its `UserError` is raised there, and ends the others too."""
    problem = None
    if jax.process_index() == 0:
        try:
            act()
        except UserError as error:
            problem = error
    if multihost_utils.broadcast_one_to_all(np.bool_(problem is not None)):
        raise problem or UserError("Process 0 has ended the run, and says why.")


def _check_by_hand(address: str, num_processes: int, process_id: int) -> None:
    if not 1 <= num_processes <= MAX_PROCESSES:
        raise UserError(f"--num_processes={num_processes}: expected 1 to {MAX_PROCESSES}.")
    if not 0 <= process_id < num_processes:
        raise UserError(
            f"--process_id={process_id}: expected 0 to {num_processes - 1}, below --num_processes."
        )
    told = f"--coordinator_address={address}"
    parts = re.fullmatch(r"(\[[\w:.%]+\]|[^\s:/\[\]]+):([0-9]{1,5})", address)
    if not parts or not 1 <= int(parts[2]) <= 65535:
        raise UserError(
            f"{told}: expected HOST:PORT of process 0, with a port of 1 to 65535, as in"
            " 10.0.0.1:1234."
        )
    try:
        socket.getaddrinfo(parts[1].strip("[]"), int(parts[2]))
    except (OSError, UnicodeError) as error:
        raise UserError(f"{told}: the host {parts[1]} is not known here ({error}).") from error


def _count(environment: Mapping[str, str], name: str) -> int:
    """The number of processes that a launcher tells in a variable; 1 without it."""
    value = environment.get(name, "1")
    if not re.fullmatch(r"[0-9]{1,7}", value):
        raise UserError(
            f"The environment has {name}={value[:40]!r}: expected a number of processes."
        )
    return int(value)
