"""What a run does when the machine fails it, or its numbers do."""

import os
import shutil
import signal

import jax
import numpy as np
import pytest
from etils import epath
from flax import nnx

from renyi_jax.errors import UserError
from renyi_jax.training import Stopped, loop, make_train_step, train


def weights(model):
    return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))


@pytest.fixture(scope="module")
def finished(dataset, make_model, make_config, tmp_path_factory):
    """A run of ten steps, and the weights that it ends with."""
    workdir = epath.Path(tmp_path_factory.mktemp("finished"))
    config = make_config(train__epochs=2, checkpoint__every_steps=3, checkpoint__keep=9)
    model = make_model()
    train(model, dataset, config, workdir)
    return workdir, config, weights(model)


def around_step(monkeypatch, change):
    """Lets `change(number, state, metrics)` act on what each step of a run returns."""

    def make(*arguments, **options):
        train_step = make_train_step(*arguments, **options)

        def step(state, batch, **seed):
            number = int(state.step) + 1
            return change(number, *train_step(state, batch, **seed))

        return step

    monkeypatch.setattr(loop, "make_train_step", make)


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(
    finished, dataset, make_model, tmp_path, workdir, caplog
):
    original, config, expected = finished
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    files = (path for path in (tmp_path / "checkpoints" / "10").rglob("*") if path.is_file())
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-9])
    model = make_model()
    train(model, dataset, config, workdir)
    assert "step 10 is damaged" in caplog.text and f"next: {tmp_path}/checkpoints/9" in caplog.text
    jax.tree.map(np.testing.assert_array_equal, weights(model), expected)


@pytest.mark.parametrize("number", [4, 5, 10])
def test_sigterm_saves_after_the_step_and_the_run_goes_on_bit_for_bit(
    finished, dataset, make_model, workdir, monkeypatch, number
):
    _, config, expected = finished

    def terminate(step, state, metrics):
        if step == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return state, metrics

    with monkeypatch.context() as patch, pytest.raises(Stopped) as stopped:
        around_step(patch, terminate)
        train(make_model(), dataset, config, workdir)
    assert stopped.value.code == 0
    assert (workdir / "checkpoints" / str(number)).exists()
    model = make_model()
    train(model, dataset, config, workdir)
    jax.tree.map(np.testing.assert_array_equal, weights(model), expected)
    lines = (workdir / "metrics.jsonl").read_text()
    assert lines.count("test_accuracy") == 2


def test_a_loss_that_is_no_number_stops_the_run_before_it_is_saved(
    dataset, make_model, make_config, workdir, monkeypatch
):
    config = make_config(checkpoint__every_steps=3, train__log_every_steps=10)

    def spoil(step, state, metrics):
        return state, {**metrics, "loss": metrics["loss"] * (np.nan if step == 5 else 1)}

    around_step(monkeypatch, spoil)
    with pytest.raises(UserError, match=r"step 5: loss is nan") as error:
        train(make_model(), dataset, config, workdir)
    assert str(error.value).endswith(f"Last good checkpoint: {workdir}/checkpoints/3.")
    ids = str(error.value).split("examples ")[1].split(" of the training")[0].split()
    assert len(ids) == 8 and {int(number) for number in ids} <= set(range(40))
    assert not (workdir / "checkpoints" / "5").exists()


def test_the_examples_of_a_bad_step_are_those_that_it_saw(
    dataset, make_model, make_config, workdir, monkeypatch
):
    seen = []
    place = loop.BatchPlacement.__call__
    monkeypatch.setattr(
        loop.BatchPlacement,
        "__call__",
        lambda self, b: (seen.append(b["label"]), place(self, b))[1],
    )
    around_step(
        monkeypatch, lambda n, s, m: (s, {**m, "grad_norm": np.float32(np.inf if n == 3 else 1)})
    )
    with pytest.raises(UserError, match="step 3: grad_norm is inf") as error:
        train(make_model(), dataset, make_config(), workdir)
    ids = str(error.value).split("examples ")[1].split(" of the training")[0].split()
    np.testing.assert_array_equal([dataset.train[int(i)]["label"] for i in ids], seen[2])


def test_a_keep_rate_schedule_compiles_a_step_for_each_level_and_resumes_within(
    dataset, make_model, make_config, workdir, monkeypatch
):
    config = make_config(
        train__epochs=3,
        train__keep_rate_epochs=2,
        train__keep_rate_levels=3,
        checkpoint__every_steps=4,
    )
    rates = []

    def make(model, *arguments):
        rates.append(model.pruning.per_block("keep_rate")[0])
        return make_train_step(model, *arguments)

    monkeypatch.setattr(loop, "make_train_step", make)
    whole, resumed = make_model(), make_model()
    train(whole, dataset, config, workdir / "whole")
    assert rates == pytest.approx([1, 0.85, 0.7])

    def terminate(step, state, metrics):
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return state, metrics

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        around_step(patch, terminate)
        train(make_model(), dataset, config, workdir / "resumed")
    train(resumed, dataset, config, workdir / "resumed")
    jax.tree.map(np.testing.assert_array_equal, weights(whole), weights(resumed))
