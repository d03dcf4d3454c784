import contextlib
import itertools
import json
import shutil

import jax
import numpy as np
import pytest
from etils import epath
from flax import nnx

from renyi_jax.errors import UserError
from renyi_jax.training import loop, make_train_step, train


class Interruption(Exception):
    pass


@contextlib.contextmanager
def interrupted_before(number):
    """Ends a run before the step of this number, counted in this process."""

    def make(*arguments, **options):
        train_step = make_train_step(*arguments, **options)
        numbers = itertools.count(1)

        def step(state, batch, **seed):
            if next(numbers) == number:
                raise Interruption
            return train_step(state, batch, **seed)

        return step

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interruption):
        patch.setattr(loop, "make_train_step", make)
        yield


def weights(model):
    return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))


def lines(workdir):
    """The logged metrics, without what no two runs share."""
    logged = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in logged]


@pytest.fixture(scope="module")
def whole(dataset, make_model, make_config, tmp_path_factory):
    """The config of a run of four epochs, its workdir, and its model."""
    workdir, model = epath.Path(tmp_path_factory.mktemp("whole")), make_model()
    config = make_config(checkpoint__every_steps=4, train__evaluate_every_epochs=2)
    train(model, dataset, config, workdir)
    return config, workdir, model


def test_an_interrupted_run_goes_on_bit_for_bit(whole, dataset, make_model, workdir):
    config, expected, model = whole
    # The checkpoints lie at steps 4 and 8, and then at 12.
    for number in (11, 6):
        with interrupted_before(number):
            train(make_model(), dataset, config, workdir)
    resumed = make_model()
    train(resumed, dataset, config, workdir)

    jax.tree.map(np.testing.assert_array_equal, weights(model), weights(resumed))
    assert lines(workdir) == lines(expected)
    steps = [line["step"] for line in lines(expected) if "loss" in line]
    assert steps == [2, 4, 5, 6, 8, 10, 12, 14, 15, 16, 18, 20]


@pytest.fixture(scope="module")
def finished(dataset, make_model, make_config, tmp_path_factory):
    """The workdir of a run of one epoch, whose batches for validation are not full, and its
    model."""
    workdir, model = epath.Path(tmp_path_factory.mktemp("finished")), make_model()
    train(model, dataset, make_config(train__epochs=1, evaluate__batch_size=10), workdir)
    return workdir, model


def test_a_finished_run_only_loads_its_weights_whatever_it_does_not_follow_from(
    finished, dataset, make_model, make_config, monkeypatch
):
    workdir, model = finished
    before = (workdir / "metrics.jsonl").read_text()
    monkeypatch.setattr(loop, "make_train_step", None)
    for fields in ({}, {"evaluate__alphas": (1, 2), "checkpoint__keep": 1}):
        again = make_model()
        train(again, dataset, make_config(train__epochs=1, **fields), workdir)
        jax.tree.map(np.testing.assert_array_equal, weights(model), weights(again))
    assert (workdir / "metrics.jsonl").read_text() == before


def test_no_epochs_leave_the_model_as_it_is(dataset, make_model, make_config, workdir):
    model = make_model()
    before = weights(model)
    train(model, dataset, make_config(train__epochs=0), workdir)
    jax.tree.map(np.testing.assert_array_equal, weights(model), before)
    assert not workdir.exists() or not list(workdir.iterdir())


def test_a_run_of_another_config_is_refused_and_its_fields_named_and_goes_on_by_force(
    finished, dataset, make_model, make_config, tmp_path, workdir, caplog
):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    longer = make_config(train__epochs=2)
    told = r"config\.train\.epochs=2, was 1\n(.|\n)*another --workdir(.|\n)*--force"
    with pytest.raises(UserError, match=told):
        train(make_model(), dataset, longer, workdir)
    train(make_model(), dataset, longer, workdir, force=True)
    assert "config.train.epochs=2, was 1" in caplog.text
    assert (workdir / "checkpoints" / "10").exists()


def test_the_loss_falls_on_images_that_can_be_learnt_by_heart(
    dataset, make_model, make_config, workdir
):
    config = make_config(
        data__flip=False,
        train__epochs=40,
        train__learning_rate=1e-2,
        train__label_smoothing=0.0,
        train__evaluate_every_epochs=0,
        train__log_every_steps=50,
        checkpoint__every_steps=1000,
    )
    model = make_model()
    model.patch_drop_rate = 0.0
    for block in model.blocks:
        block.drop_path.rate = block.mlp.dropout.rate = 0.0
    train(model.with_pruning(None), dataset, config, workdir)
    losses = [line["loss"] for line in lines(workdir)]
    assert losses[0] > 1.5 and losses[-1] < 0.1


def test_every_log_line_tells_what_the_step_did(whole):
    _, workdir, _ = whole
    logged = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    of_steps = [line for line in logged if "loss" in line]
    names = {"step", "epoch", "loss", "accuracy", "grad_norm", "learning_rate"}
    assert all(names <= line.keys() for line in of_steps)
    assert all(line["epoch"] == line["step"] / 5 for line in of_steps)
    assert all(np.isfinite(value) for line in logged for value in line.values())
    tested = [line for line in logged if "test_accuracy" in line]
    assert [line["epoch"] for line in tested] == [2, 4]
    assert any((workdir / "tensorboard").iterdir())


def test_validation_counts_every_test_image_once(finished):
    logged = lines(finished[0])
    (accuracy,) = [line["test_accuracy"] for line in logged if "test_accuracy" in line]
    assert accuracy * 23 == pytest.approx(round(accuracy * 23), abs=1e-5)


def test_the_latest_checkpoints_and_the_best_one_stay(dataset, make_model, make_config, workdir):
    config = make_config(checkpoint__every_steps=3, checkpoint__keep=2, checkpoint__keep_best=1)
    accuracies = iter((0.1, 0.3, 0.2, 0.2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_validation", lambda *_: lambda *_: next(accuracies))
        train(make_model(), dataset, config, workdir)
    kept = {path.name for path in (workdir / "checkpoints").iterdir()}
    assert kept == {"10", "18", "20"}
