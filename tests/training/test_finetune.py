import json

import ml_collections
import pytest

from renyi_jax.config import (
    check_config,
    deciding_differences,
    default_config,
    recipe,
    to_json,
)
from renyi_jax.training import loop, train, with_fitting_batch

WEIGHTS = "embedded:vit_nano_patch4_56"


def config_with(weights="", **train):
    config = default_config()
    config.model.weights = weights
    config.train.update(train)
    return check_config(config)


def test_without_weights_the_defaults_are_those_of_training_from_scratch():
    train = config_with().train
    assert (train.learning_rate, train.warmup_epochs) == (1e-3, 0)


def test_with_weights_the_defaults_are_those_of_fine_tuning():
    train = config_with(WEIGHTS, epochs=30).train
    assert (train.learning_rate, train.warmup_epochs) == (5e-5, 3)


@pytest.mark.parametrize("weights", ["", WEIGHTS])
def test_a_value_that_is_given_wins_with_and_without_weights(weights):
    given = {"learning_rate": 1e-3, "warmup_epochs": 0.0}
    config = config_with(weights, **given)
    assert {name: config.train[name] for name in given} == given


def test_one_epoch_of_fine_tuning_leaves_room_after_its_warm_up():
    assert config_with(WEIGHTS, epochs=1).train.warmup_epochs < 1
    assert config_with(WEIGHTS, epochs=0).train.warmup_epochs == 0


@pytest.mark.parametrize("weights", ["", WEIGHTS])
def test_a_saved_config_holds_the_resolved_values_and_equals_the_one_that_saved_it(weights):
    config = config_with(weights)
    saved = json.loads(json.dumps(to_json(config)))
    assert saved["train"]["learning_rate"] == config.train.learning_rate is not None
    assert check_config(saved) == config and not deciding_differences(check_config(saved), config)


def test_the_recipe_names_every_field_that_waits_for_the_weights_and_no_other():
    waiting = {
        f"{group}.{name}"
        for group, fields in default_config().items()
        if isinstance(fields, ml_collections.ConfigDict)
        for name, value in fields.items()
        if value is None and check_config(default_config())[group][name] is not None
    }
    assert recipe(config_with()).keys() == waiting - {"pruning.criterion"}


def test_a_batch_is_cut_to_what_the_training_images_fill_and_the_devices_share():
    def fitted(batch_size, accumulate_steps=1, **options):
        config = default_config()
        config.data.batch_size = batch_size
        config.train.accumulate_steps = accumulate_steps
        return with_fitting_batch(check_config(config), **options).data.batch_size

    assert fitted(128, num_examples=40, shards=1) == 40
    assert fitted(128, num_examples=43, shards=8) == 40
    assert fitted(128, accumulate_steps=4, num_examples=43, shards=2) == 40
    assert fitted(32, num_examples=40, shards=1) == 32
    assert fitted(128, num_examples=3, shards=8) == 128  # which the loader refuses


def test_a_run_on_fewer_images_than_a_batch_trains_on_all_of_them(
    dataset, make_model, make_config, workdir, caplog
):
    config = make_config(data__batch_size=128, train__epochs=2)
    train(make_model(), dataset, config, workdir)
    logged = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged if "loss" in line] == [1, 2]
    assert "do not fill a batch of config.data.batch_size=128: it takes 40." in caplog.text


def test_a_run_says_by_what_recipe_it_trains(
    dataset, make_model, make_config, workdir, caplog, monkeypatch
):
    config = make_config(model__weights=WEIGHTS, train__epochs=1)
    monkeypatch.setattr(loop, "training_batches", None)  # what comes next is not called
    with caplog.at_level("INFO", logger="absl"), pytest.raises(TypeError):
        train(make_model(), dataset, config, workdir)
    assert f"Fine-tuning {WEIGHTS}: train.learning_rate=5e-05, train.warmup" in caplog.text
