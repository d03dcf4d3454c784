import jax
import numpy as np
import pytest
from flax import nnx

from renyi_jax.config import check_config, default_config
from renyi_jax.errors import UserError
from renyi_jax.training import loop, train
from renyi_jax.training.stopping import StopNotice, Stopped

EPOCH_STEPS = 5
EPOCHS = 9  # in all tests, so that they share what is compiled: its schedule ends there


def weights(model):
    return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))


@pytest.fixture
def looked_at(monkeypatch):
    """Makes each look at the test images find the next of some accuracies, and keeps the weights
    that were looked at."""

    def script(*accuracies):
        seen = []

        def measure(params, _):
            seen.append(jax.tree.map(np.asarray, params))
            return accuracies[len(seen) - 1]

        monkeypatch.setattr(loop, "make_validation", lambda *_: measure)
        return seen

    return script


def assert_same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_a_run_ends_when_its_patience_does_and_the_best_weights_are_kept(
    dataset, make_model, make_config, workdir, looked_at
):
    seen = looked_at(0.1, 0.5, 0.3, 0.4, *[0.9] * 5)
    model = make_model()
    train(model, dataset, make_config(train__epochs=EPOCHS, train__patience=2), workdir)
    assert len(seen) == 4
    assert_same(weights(model), seen[1])


def test_of_equal_accuracies_the_first_counts(dataset, make_model, make_config, workdir, looked_at):
    seen = looked_at(0.5, 0.5, 0.5, 0.6)
    model = make_model()
    train(model, dataset, make_config(train__epochs=EPOCHS, train__patience=2), workdir)
    assert len(seen) == 3
    assert_same(weights(model), seen[0])


def test_a_run_that_gets_better_makes_all_epochs(
    dataset, make_model, make_config, workdir, looked_at
):
    seen = looked_at(0.1, 0.2, 0.15, 0.3, 0.25, 0.4, 0.35, 0.3, 0.5)
    model = make_model()
    train(model, dataset, make_config(train__epochs=EPOCHS, train__patience=3), workdir)
    assert len(seen) == EPOCHS
    assert_same(weights(model), seen[-1])


def test_a_run_that_stopped_early_only_loads_its_weights_again(
    dataset, make_model, make_config, workdir, looked_at, monkeypatch
):
    config = make_config(train__epochs=EPOCHS, train__patience=1)
    seen = looked_at(0.7, 0.6)
    train(make_model(), dataset, config, workdir)
    again = make_model()
    looked_at()  # fails at any further look, as does any further step
    monkeypatch.setattr(loop, "make_train_step", lambda *_: pytest.fail)
    train(again, dataset, config, workdir)
    assert_same(weights(again), seen[0])


def test_patience_and_best_weights_outlast_an_interruption(
    dataset, make_model, make_config, workdir, looked_at, monkeypatch
):
    """Also one that comes before the last look at the test images is taken."""
    config = make_config(train__epochs=EPOCHS, train__patience=2, train__ema_decay=0.9)
    # 0.7 has no exact float32: a resumed run must not take its own best for an improvement.
    accuracies = (0.6, 0.7, 0.7, 0.65, 0.9)
    whole, resumed = make_model(), make_model()
    seen = looked_at(*accuracies)
    train(whole, dataset, config, workdir / "whole")
    assert len(seen) == 4
    found = 0
    for told_at in (2 * EPOCH_STEPS, 2 * EPOCH_STEPS + 2):
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            looks = looked_at(*accuracies[found:])
            patch.setattr(StopNotice, "reached", lambda _, step, at=told_at: step == at)
            train(make_model(), dataset, config, workdir / "resumed")
        found += len(looks)
    rest = looked_at(*accuracies[found:])
    train(resumed, dataset, config, workdir / "resumed")
    assert found + len(rest) == len(seen)
    assert_same(weights(resumed), weights(whole))


def test_the_head_of_a_probe_is_a_candidate_for_the_best(
    dataset, make_model, make_config, workdir, looked_at
):
    seen = looked_at(0.8, 0.2, 0.3)
    model = make_model()
    config = make_config(train__epochs=EPOCHS, train__patience=2, train__probe=True)
    train(model, dataset, config, workdir)
    assert len(seen) == 3
    assert_same(weights(model), seen[0])
    body = weights(make_model())
    assert_same({**weights(model), "head": body["head"]}, body)


def test_a_probe_of_no_epochs_changes_the_head_and_nothing_else(
    dataset, make_model, make_config, workdir
):
    model = make_model()
    before = weights(model)
    train(model, dataset, make_config(train__epochs=0, train__probe=True), workdir)
    after = weights(model)
    assert not np.array_equal(after["head"]["kernel"], before["head"]["kernel"])
    assert_same({**after, "head": before["head"]}, before)


def test_patience_without_a_look_at_the_test_images_is_refused():
    config = default_config()
    config.train.update({"patience": 3, "evaluate_every_epochs": 0})
    with pytest.raises(UserError, match=r"config\.train\.patience=3: expected 0 where"):
        check_config(config)
