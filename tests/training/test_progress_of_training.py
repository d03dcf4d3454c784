"""What is shown of a run is what the device has finished, however far ahead the host is."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renyi_jax.training import hooks, loop, make_train_step, train
from renyi_jax.training.run import IN_FLIGHT, Window


@pytest.fixture
def finished(monkeypatch):
    """The steps that somebody waited for: of a device that finishes nothing before. The loss of a
    step is its number."""
    steps = set()

    def wait(value):
        if isinstance(value, dict):  # and no validation's
            steps.add(int(value["loss"]))

    monkeypatch.setattr(jax, "block_until_ready", wait)
    return steps


def test_a_window_counts_no_step_that_the_device_has_not_finished_and_lets_few_wait(finished):
    window = Window(batch_size=8, step=10)
    for step in range(11, 30):
        window.add(step, {"loss": jnp.float32(step)}, np.arange(8))
        assert set(range(11, window.finished + 1)) == finished
        assert step - window.finished == min(IN_FLIGHT, step - 10)
    window.close()
    assert window.finished == 29


@pytest.fixture
def shown(monkeypatch, finished):
    """What a run shows: its phases, and its bar, with the steps finished at each move of it."""
    told = []

    class Bar:
        def __init__(self, initial):
            self.n = initial

        def update(self, steps):
            self.n += steps
            told.append((self.n, len(finished)))

        def set_postfix(self, values, refresh):
            pass

    @contextlib.contextmanager
    def progress_bar(name, total, *, unit, initial, smoothing):
        told.append(f"{name} from {initial} of {total}")
        yield Bar(initial)

    @contextlib.contextmanager
    def phase(name):
        told.append(name)
        yield

    def make(*arguments):
        train_step = make_train_step(*arguments)

        def step(state, batch, **seed):
            state, metrics = train_step(state, batch, **seed)
            return state, {**metrics, "loss": state.step.astype(jnp.float32)}

        return step

    monkeypatch.setattr(hooks, "progress_bar", progress_bar)
    monkeypatch.setattr(hooks, "phase", phase)
    monkeypatch.setattr(loop, "make_train_step", make)
    return told


def test_the_bar_never_runs_ahead_and_compiling_is_a_phase_before_it(
    shown, dataset, make_model, make_config, workdir
):
    config = make_config(train__epochs=2, train__log_every_steps=4)
    train(make_model(), dataset, config, workdir)
    compiling, start, *moves = shown
    assert compiling == "Compiling the training step" and start == "Training from 1 of 10"
    assert len(moves) == 10 and moves[-1] == (10, 10)
    assert all(count == finished for count, finished in moves)
