"""Checkpoints of a run: state, position in the data, and the config that they belong to."""

import logging as python_logging
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp
from etils import epath

from renyi_jax.config import check_config, deciding_differences, to_json
from renyi_jax.errors import UserError
from renyi_jax.training.state import TrainState


class Checkpoints:
    """The checkpoints in a folder. Written in the background; a broken one is never seen.

    Use as a context manager: leaving it waits for what is being written.
    """

    def __init__(self, folder: epath.Path, config: Any):
        self._folder = folder
        self._config = config
        # Orbax tells each of its steps at level WARNING where no handler is set up.
        python_logging.getLogger("orbax").setLevel(python_logging.ERROR)
        self._manager = ocp.CheckpointManager(
            folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=config.checkpoint.keep, cleanup_tmp_directories=True
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def save(self, state: TrainState, batches: grain.DatasetIterator, step: int) -> None:
        """Starts to write a checkpoint, unless there is one of this step."""
        if step == self._manager.latest_step():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                data=grain.checkpoint.CheckpointSave(batches),
                config=ocp.args.JsonSave(to_json(self._config)),
            ),
        )

    def restore(self, state: TrainState, batches: grain.DatasetIterator) -> TrainState:
        """The latest state, with `batches` put where they were; `state` if there is none.

        Raises:
            UserError: the checkpoint is of a config that another training follows from.
        """
        step = self._manager.latest_step()
        if step is None:
            return state
        self._refuse_another_config(step)
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(
                    jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
                ),
                data=grain.checkpoint.CheckpointRestore(batches),
            ),
        )
        return restored["state"]

    def _refuse_another_config(self, step: int) -> None:
        saved = self._manager.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))
        differences = deciding_differences(self._config, check_config(saved["config"]))
        if differences:
            listed = "\n".join(f"  {difference}" for difference in differences)
            raise UserError(
                f"{self._folder} holds checkpoints of another config:\n{listed}\n"
                "Set these fields back to resume that run, or give another --workdir."
            )
