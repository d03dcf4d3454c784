"""Entries of a plan, judged together."""

import dataclasses

import numpy as np
import pytest
from etils import epath
from tiny import tiny_dataset, tiny_model

from renyi_jax.common.store import Store
from renyi_jax.config import default_config
from renyi_jax.evaluation.judging import judge as judge_settings
from renyi_jax.evaluation.programs import Programs
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
def config():
    config = default_config()
    config.evaluate.batch_size = 4
    return config


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(epath.Path(tmp_path_factory.mktemp("cells")))


@pytest.fixture(scope="module")
def judged(config, store):
    return judge(tiny_model(), DATASET, config, ENTRIES, store)


def test_prunings_that_run_as_one_program_judge_as_each_does_alone(config, judged):
    model = tiny_model()
    programs = Programs(model, config.mesh.to_dict())
    settings = [entry.pruning for entry in ENTRIES]
    alone = judge_settings(model, DATASET, config, settings, 0, None, programs)
    for one, together in zip(alone, judged.values(), strict=True):
        np.testing.assert_array_equal(one.predicted, together.predicted)
        np.testing.assert_array_equal(one.kept, together.kept)
        np.testing.assert_allclose(one.nll, together.nll, rtol=1e-4)


def test_entries_that_are_not_computed_are_left_out(config, store, judged):
    more = [*ENTRIES, Entry("renyi 8", 0.7, dataclasses.replace(BASE, alpha=8.0, keep_rate=0.7))]
    found = judge(tiny_model(), DATASET, config, more, store, compute=False)
    assert list(found) == ENTRIES
    for entry, cell in found.items():
        np.testing.assert_array_equal(cell.nll, judged[entry].nll)
