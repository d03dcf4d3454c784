"""The folder of a run: held by one run at a time, and with room for what the run will write."""

import fcntl
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import jax
from absl import logging
from etils import epath

from renyi_jax.errors import UserError
from renyi_jax.parallel import make_mesh
from renyi_jax.training.lowering import abstract_model, abstract_state

_LOCK = ".lock"

_held: list[Any] = []
"""Open files, whose locks the system releases when the process ends, whatever ends it."""


def claim(workdir: epath.Path, config: Any) -> None:
    """Locks `workdir` until this process ends, and makes it if needed; skipped in a bucket.

    Raises UserError: another run is at work there, the disk is too small for the checkpoints and
    weights, or the mesh does not fit the devices.
    """
    if "://" not in str(workdir):
        _check_room(workdir, config)
        _lock(workdir)


def _lock(workdir: epath.Path) -> None:
    workdir.mkdir(parents=True, exist_ok=True)
    file = open(workdir / _LOCK, "a+")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise UserError(
            f"--workdir={workdir}: another run is at work there ({file.read().strip()}). Wait for"
            " its end, or give another --workdir."
        ) from None
    except OSError as error:
        logging.warning("%s cannot be locked (%s): start no second run there.", workdir, error)
    file.truncate(0)
    print(f"process {os.getpid()} of {socket.gethostname()}", file=file, flush=True)
    _held.append(file)


def _check_room(workdir: epath.Path, config: Any) -> None:
    """What the folder holds of an earlier start is replaced, and so counts as free."""
    weights, state = estimate_bytes(config)
    options = config.checkpoint
    checkpoints = options.keep + options.keep_best + 1 if config.train.epochs else 0
    needed = weights + checkpoints * state
    files = Path(workdir).rglob("*")
    disk = next(folder for folder in (workdir, *workdir.parents) if folder.exists())
    free = shutil.disk_usage(disk).free + sum(f.stat().st_size for f in files if f.is_file())
    if needed > free:
        raise UserError(
            f"--workdir={workdir} has {free / 1e9:,.2f} GB free; {checkpoints} checkpoints of"
            f" {state / 1e9:,.2f} GB and the weights of {weights / 1e9:,.2f} GB take about"
            f" {needed / 1e9:,.2f} GB. Make room, give another --workdir, or keep fewer"
            " (config.checkpoint.keep, config.checkpoint.keep_best)."
        )


def estimate_bytes(config: Any) -> tuple[int, int]:
    """Returns the sizes of a file of weights, and of a checkpoint; classes count for little."""
    model = abstract_model(config, config.model.num_classes or 1)
    state = abstract_state(model, config, make_mesh(config.mesh.to_dict()))
    weights, checkpoint = (
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
        for tree in (state.params, state)
    )
    return weights, checkpoint
