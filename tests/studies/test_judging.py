"""Cells of a study: what is shared, what is kept, and what is not computed again."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from tiny import tiny_dataset, tiny_model

from renyi_jax.config import default_config
from renyi_jax.evaluation.metrics import Outcomes
from renyi_jax.evaluation.programs import evaluate_batch
from renyi_jax.evaluation.store import Store
from renyi_jax.models import normalize_images, save_weights
from renyi_jax.pruning import PruningConfig
from studies.judging import judge
from studies.plans import PLAIN, Entry

DATASET = tiny_dataset(11)
BASE = PruningConfig(blocks=(1, 2), keep_rate=0.5)
ENTRIES = [
    PLAIN,
    Entry("renyi 0.5", 0.5, dataclasses.replace(BASE, alpha=0.5)),
    Entry("renyi 4", 0.5, dataclasses.replace(BASE, alpha=4.0)),
    Entry("cls_attention", 0.5, dataclasses.replace(BASE, criterion="cls_attention")),
]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    config = default_config()
    config.model.weights = str(tmp_path_factory.mktemp("weights") / "tiny.safetensors")
    config.evaluate.batch_size = 4
    save_weights(tiny_model(), config.model.weights)
    return config


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(epath.Path(tmp_path_factory.mktemp("cells")))


@pytest.fixture(scope="module")
def judged(config, store):
    return run(config, store)


def run(config, store, entries=ENTRIES, read=evaluate_batch, **options):
    return judge(tiny_model(seed=1), DATASET, config, entries, store, read, Outcomes, **options)


def nothing(*_):
    raise AssertionError("computed again")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.method)
def test_prunings_that_run_as_one_program_judge_as_each_does_alone(judged, entry):
    examples = [DATASET.test[index] for index in range(11)]
    images = jnp.asarray(np.stack([each["image"] for each in examples]))
    model = tiny_model(entry.pruning)
    logits = model(normalize_images(images, model.spec.mean, model.spec.std))
    np.testing.assert_array_equal(judged[entry].predicted, logits.argmax(axis=1))


def test_finished_cells_are_not_computed_again(config, store, judged):
    again = run(config, store, read=nothing)
    for entry, cell in judged.items():
        for kept, new in zip(cell, again[entry]):
            np.testing.assert_array_equal(kept, new)


def test_a_study_goes_on_where_it_was_stopped(config, tmp_path, judged):
    store = Store(epath.Path(tmp_path))
    run(config, store, ENTRIES[:2])
    calls = []

    def read(*arguments):
        calls.append(arguments)
        return evaluate_batch(*arguments)

    went_on = run(config, store, ENTRIES[:3], read)
    assert len(calls) == 1  # traced once, for the one program that is missing
    np.testing.assert_allclose(went_on[ENTRIES[2]].nll, judged[ENTRIES[2]].nll, rtol=1e-5)


def test_a_broken_cell_counts_for_none(config, tmp_path):
    run(config, Store(epath.Path(tmp_path)), ENTRIES[:1])
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert run(config, Store(epath.Path(tmp_path)), ENTRIES[:1], nothing, compute=False) == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.data.update(test_split="test[:5]"),
        lambda config: config.model.update(dtype="bfloat16"),
        lambda config: config.update(seed=1),
    ],
    ids=["images", "model", "seed"],
)
def test_what_decides_a_cell_names_it(config, store, judged, change):
    other = config.copy_and_resolve_references()
    change(other)
    assert len(run(config, store, compute=False)) == len(ENTRIES)
    assert run(other, store, compute=False) == {}
