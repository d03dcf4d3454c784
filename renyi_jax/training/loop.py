"""The loop: from a model and a data set to a trained model, through any number of interruptions."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax
from absl import logging
from etils import epath
from flax import nnx
from jax.sharding import Mesh

from renyi_jax.config import recipe
from renyi_jax.data import Dataset
from renyi_jax.data.pipeline import steps_per_epoch
from renyi_jax.errors import UserError
from renyi_jax.models import VisionTransformer, weights_of
from renyi_jax.parallel import (
    BatchPlacement,
    make_mesh,
    on_mesh,
    replicated,
    spread,
    state_shardings,
)
from renyi_jax.pruning import PruningConfig
from renyi_jax.training.checkpoints import Checkpoints
from renyi_jax.training.hooks import (
    KeepBest,
    KeepRates,
    Log,
    ProgressBar,
    Save,
    Stop,
    Validate,
    keep_rate_levels,
)
from renyi_jax.training.identity import identity_of
from renyi_jax.training.optimizer import learning_rate_schedule, make_optimizer
from renyi_jax.training.probe import probe
from renyi_jax.training.run import Hook, MetricsLog, NonFiniteError, Run, Window
from renyi_jax.training.setup import training_batches, with_fitting_batch
from renyi_jax.training.state import TrainState
from renyi_jax.training.step import make_train_step, make_validation
from renyi_jax.training.stopping import StopNotice, Stopped


def train(
    model: VisionTransformer,
    dataset: Dataset,
    config: Any,
    workdir: epath.Path,
    force: bool = False,
) -> None:
    """Trains `model` in place, to the last epoch or until `train.patience` runs out.

    Resumes from the latest checkpoint in the workdir; on the same devices the result is bit for bit
    that of an uninterrupted run. With no epochs it fits at most the head of `train.probe`.

    Args:
        model: with the initial weights, the same in every process; gets the trained ones, their
            moving average, or the best of them.
        workdir: gets `checkpoints/`, `metrics.jsonl` and `tensorboard/`.
        force: resume from checkpoints of another config or of other data.

    Raises:
        UserError: the workdir holds another run or more steps, the data do not fill a batch, the
            mesh does not fit the devices, a checkpoint cannot be written, or a loss is not finite.
        Stopped: SIGTERM or Ctrl-C came; the checkpoint is written.
    """
    options = config.train
    if options.epochs == 0 and not options.probe:
        return
    mesh = make_mesh(config.mesh.to_dict())
    if options.epochs == 0:
        with StopNotice() as notice, on_mesh(mesh):
            probe(model, dataset, config, mesh, lambda: notice.given)
        return
    config = with_fitting_batch(config, len(dataset.train), spread(mesh))
    start = f"Fine-tuning {config.model.weights}" if config.model.weights else "From random weights"
    fields = ", ".join(f"{place}={value:g}" for place, value in recipe(config).items())
    logging.info("%s: %s.", start, fields)
    place = BatchPlacement(mesh, config.data.batch_size)
    batches = training_batches(model, dataset, config, part=(place.index, place.count))
    epoch_steps = steps_per_epoch(dataset, config.data.batch_size)
    schedule = learning_rate_schedule(options, config.data.batch_size, epoch_steps)
    optimizer = make_optimizer(options, schedule)
    with contextlib.ExitStack() as resources:
        # Until what is being written is whole.
        notice = resources.enter_context(StopNotice())
        resources.enter_context(on_mesh(mesh))
        checkpoints = resources.enter_context(
            Checkpoints(workdir / "checkpoints", config, identity_of(dataset))
        )
        state, shardings = initial_state(model, optimizer, config, mesh)

        def make_step(pruning: PruningConfig | None) -> Callable:
            step = make_train_step(model.with_pruning(pruning), optimizer, config, shardings)
            return functools.partial(step, seed=np.uint32(config.seed))

        state = checkpoints.restore(state, batches, force)
        if options.probe and int(state.step) == 0:
            probe(model, dataset, config, mesh, lambda: notice.given)
            state, _ = initial_state(model, optimizer, config, mesh)
        step, last_step = int(state.step), options.epochs * epoch_steps
        if step > last_step:
            raise UserError(
                f"{checkpoints.latest} is {step} steps old; config.train.epochs={options.epochs}"
                f" are {last_step} steps. Give more epochs, or another --workdir."
            )
        log = resources.enter_context(MetricsLog(workdir, step))
        validation = make_validation(model, dataset, config, mesh)
        hooks = (
            KeepRates(keep_rate_levels(model.pruning, options, epoch_steps), make_step),
            Stop(notice),
            Log(options.log_every_steps, schedule),
            Validate(validation, options, checkpoints, notice),
            *([KeepBest(options.patience, shardings)] if options.patience else []),
            Save(checkpoints, config.checkpoint, epoch_steps),
            ProgressBar(resources),
        )
        run = Run(
            state=state,
            batches=batches,
            step=step,
            last_step=last_step,
            epoch_steps=epoch_steps,
            log=log,
            window=Window(config.data.batch_size, step),
        )
        try:
            make_steps(run, hooks, place)
        except NonFiniteError as error:
            raise UserError(f"{error}\nLast good checkpoint: {checkpoints.latest}.") from error
        whole = jax.jit(lambda params: params, out_shardings=replicated(mesh))(run.state.kept)
    # On one device of this process, where the model was.
    nnx.update(model, jax.tree.map(lambda value: value.addressable_data(0), whole))


def make_steps(run: Run, hooks: Sequence[Hook], place: BatchPlacement) -> None:
    """Runs the steps up to the last, and the hooks after each; raises Stopped if a hook says so.

    The host waits only when it is `IN_FLIGHT` steps ahead of the device.
    """
    for hook in hooks:
        hook.begin(run)
    while run.step < run.last_step and not run.stopped:
        batch = dict(next(run.batches))
        ids = batch.pop("index")
        run.state, metrics = run.train_step(run.state, place(batch))
        run.step += 1
        run.window.add(run.step, metrics, ids)
        for hook in hooks:
            hook.after_step(run)
    if run.stopped:
        logging.warning(
            "Stopped by %s after step %d of %d. The same command goes on there.",
            *(run.stopped, run.step, run.last_step),
        )
        raise Stopped


def initial_state(
    model: VisionTransformer, optimizer: optax.GradientTransformation, config: Any, mesh: Mesh
) -> tuple[TrainState, TrainState]:
    """The state before the first step, on the mesh, and the sharding of each of its arrays."""

    def create(params: Any) -> TrainState:
        return TrainState.create(params, optimizer, config.train)

    params = weights_of(model)
    shardings = state_shardings(mesh, jax.eval_shape(create, params))
    # From arrays of the host, which are the same in every process, and not donated: each device
    # makes its own share.
    host = jax.tree.map(np.asarray, params)
    return jax.jit(create, out_shardings=shardings)(host), shardings
