"""Checkpoints of a run: state, position in the data, and the config and data they belong to."""

import functools
import itertools
import logging as python_logging
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies

from renyi_jax.config import check_config, deciding_differences, to_json
from renyi_jax.errors import UserError
from renyi_jax.parallel import all_or_none
from renyi_jax.training.identity import Identity, damage, differences, write_digests
from renyi_jax.training.state import TrainState

METRIC = "test_accuracy"  # by which the best checkpoints are known


class Checkpoints:
    """The checkpoints in a folder, written in the background; leaving the context waits for them.

    A checkpoint that was not finished is never seen. One whose files have changed since is reported
    and moved to `broken_checkpoints` beside the folder, and the one before it is used.
    """

    def __init__(self, folder: epath.Path, config: Any, identity: Identity):
        """Opens the folder, or makes it; `identity` is that of the training data."""
        self._folder = folder
        self._config = config
        self._identity = identity
        self._options = config.checkpoint
        self._writing: int | None = None
        self._unwritten: set[int | None] = set()
        # Orbax tells each of its steps at level WARNING where no handler is set up.
        python_logging.getLogger("orbax").setLevel(python_logging.ERROR)
        self._manager = self._open()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._manager.close()
        except Exception as error:
            try:
                self._failed(error)
            finally:
                self._manager.close()
        self._remove_parts()

    @property
    def latest(self) -> str:
        """The latest checkpoint, in words."""
        step = self._manager.latest_step()
        return (
            f"{self._folder} has no checkpoint" if step is None else str(self._folder / str(step))
        )

    def save(
        self,
        state: TrainState,
        batches: grain.DatasetIterator,
        step: int,
        accuracy: float | None = None,
    ) -> None:
        """Starts to write a checkpoint of the state after `step` steps, unless there is one.

        Raises UserError: this one or the one before cannot be written, and `checkpoint.on_failure`
        is "stop".
        """
        if step == self._manager.latest_step():
            return
        self.wait()
        self._remove_parts()
        self._unwritten.discard(step)
        self._writing = step
        try:
            self._manager.save(
                step,
                metrics=None if accuracy is None else {METRIC: accuracy},
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    data=ocp.args.JsonSave(batches.get_state()),
                    config=ocp.args.JsonSave(to_json(self._config)),
                    identity=ocp.args.JsonSave(dict(self._identity)),
                ),
            )
        except Exception as error:
            self._failed(error)

    def wait(self) -> None:
        """Waits for the checkpoint that is being written; raises as `save`."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            self._failed(error)

    def restore(
        self, state: TrainState, batches: grain.DatasetIterator, force: bool = False
    ) -> TrainState:
        """Returns the latest undamaged state, with `batches` set to its position; `state` if none.

        Args:
            state: gives shapes and shardings.
            batches: of the same data, on any number of processes.
            force: resume although the config or the data differ; the differences are logged.

        Raises UserError: the config, the data or the model's shapes differ.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            if problem := self._damage(step):
                self._set_aside(step, problem)
                continue
            noted = {item: self._noted(step, item) for item in ("config", "identity")}
            all_or_none(functools.partial(self._compare, noted, force))
            abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
            try:
                restored = self._manager.restore(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore()
                    ),
                )
            except (ValueError, KeyError, TypeError) as error:
                reason = str(error).partition("\n")[0][:300]
                raise UserError(
                    f"{self._folder / str(step)} does not fit this model and optimiser: {reason}\n"
                    "Give another --workdir; --config.model.weights starts from trained weights."
                ) from error
            batches.set_state(restored["data"])
            return restored["state"]
        return state

    def accuracy(self, step: int) -> float | None:
        """The accuracy that was saved with a step."""
        metrics = self._manager.metrics(step) if step in self._manager.all_steps() else None
        return metrics and metrics[METRIC]

    def _open(self) -> ocp.CheckpointManager:
        best = policies.BestN(
            get_metric_fn=_accuracy,
            n=self._options.keep_best,
            keep_checkpoints_without_metrics=False,
        )
        return ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                best_fn=_accuracy,
                preservation_policy=policies.AnyPreservationPolicy(
                    [policies.LatestN(self._options.keep), best]
                ),
                cleanup_tmp_directories=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._write_digests),
            ),
        )

    def _write_digests(self) -> None:
        """Joins the digests to a checkpoint that is complete, before it gets its name."""
        if jax.process_index() == 0:
            # On storage that cannot rename, a checkpoint has its name from the start.
            named = self._folder / str(self._writing)
            write_digests(next(iter(self._unnamed(self._writing)), named))

    def _unnamed(self, step: int | None) -> list[epath.Path]:
        """What is written of a checkpoint, until it is whole and gets its name."""
        return list(self._folder.glob(f"{step}.orbax-checkpoint-tmp*"))

    def _failed(self, error: Exception) -> None:
        """Tells that a checkpoint could not be written, and makes ready for the next."""
        step = self._writing
        try:
            self._manager.close()
        except Exception:
            logging.debug("Closing after a failed checkpoint failed too.", exc_info=True)
        self._unwritten.add(step)
        self._remove_parts()
        self._manager = self._open()
        message = (
            f"The checkpoint of step {step} could not be written: {error}\n"
            f"The latest that could: {self.latest}."
        )
        if self._options.on_failure == "stop":
            raise UserError(message) from error
        logging.error("%s Training goes on.", message)

    def _remove_parts(self) -> None:
        """Gives the room of failed checkpoints back: again later what a late thread adds to one."""
        if jax.process_index() == 0:
            for part in itertools.chain.from_iterable(map(self._unnamed, self._unwritten)):
                try:
                    part.rmtree(missing_ok=True)
                except OSError:
                    logging.debug("%s is still being written.", part, exc_info=True)

    def _damage(self, step: int) -> str | None:
        """What process 0 finds wrong with a checkpoint."""
        problem = damage(self._folder / str(step)) if jax.process_index() == 0 else None
        is_damaged = multihost_utils.broadcast_one_to_all(np.bool_(problem is not None))
        return (problem or "it is damaged") if is_damaged else None

    def _set_aside(self, step: int, problem: str) -> None:
        aside = self._folder.parent / "broken_checkpoints"
        if jax.process_index() == 0:
            aside.mkdir(exist_ok=True)
            copies = len(list(aside.glob(f"{step}*")))
            (self._folder / str(step)).rename(aside / f"{step}.{copies}")
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"set aside {step}")
        self._manager.reload()
        logging.error(
            "The checkpoint of step %d is damaged (%s). It now lies in %s; next: %s.",
            *(step, problem, aside, self.latest),
        )

    def _compare(self, noted: dict[str, Any], force: bool) -> None:
        """Compares the config and the data with those that a checkpoint notes."""
        data = noted["identity"]
        for what, changes in (
            ("another config", self._config_changes(noted["config"])),
            ("other training data", list(differences(self._identity, data)) if data else []),
        ):
            if not changes:
                continue
            listed = "\n".join(f"  {change}" for change in changes)
            if not force:
                raise UserError(
                    f"{self._folder} holds checkpoints of {what}:\n{listed}\n"
                    "Set this back to resume that run, give another --workdir, or go on with what"
                    " is new by --force."
                )
            logging.warning("Going on with %s than before:\n%s", what, listed)

    def _noted(self, step: int, item: str) -> Any:
        """What a checkpoint notes; None where it is of a version that did not."""
        if not (self._folder / str(step) / item).exists():
            return None
        args = ocp.args.Composite(**{item: ocp.args.JsonRestore()})
        return self._manager.restore(step, args=args)[item]

    def _config_changes(self, noted: Any) -> list[str]:
        try:
            return deciding_differences(self._config, check_config(noted))
        except UserError as error:
            return [f"It is of another version. {error}"]


def _accuracy(metrics: dict[str, float]) -> float:
    return metrics[METRIC]
