"""Adaptive keep counts that cost in the mean what fixed ones do."""

import dataclasses
import functools

import pytest
from etils import epath
from tiny import tiny_dataset, tiny_model, tiny_spec

from renyi_jax.common.store import Store
from renyi_jax.config import default_config
from renyi_jax.errors import UserError
from renyi_jax.models.flops import count_flops
from renyi_jax.pruning import PruningConfig
from studies.judging import at_mean_cost, judge
from studies.plans import PLAIN, Entry, adaptive
from studies.rows import accuracy_rows

SPEC, DATASET = tiny_spec(), tiny_dataset(40)
FIXED = PruningConfig(blocks=(1, 2), keep_rate=0.5)


@pytest.fixture(scope="module")
def judge_all(tmp_path_factory):
    config = default_config()
    config.evaluate.batch_size = 40
    store = Store(epath.Path(tmp_path_factory.mktemp("cells")))
    return functools.partial(judge, tiny_model(), DATASET, config, store=store)


def test_adaptive_counts_cost_in_the_mean_what_fixed_ones_do_and_their_row_says_so(judge_all):
    found = at_mean_cost(FIXED, SPEC, judge_all)
    entries = [PLAIN, Entry("fixed", 0.5, FIXED), Entry("adaptive", 0.5, found)]
    cells = judge_all(entries)
    assert len(set(cells[entries[2]].tokens[:, 0])) > 1
    rows = accuracy_rows(entries, [[cell] for cell in cells.values()], SPEC, DATASET)
    _, fixed, adapted = (row["gmacs"] for row in rows)
    assert fixed == count_flops(SPEC, FIXED) / 1e9
    assert adapted == pytest.approx(fixed, rel=0.02)


def test_what_no_adaptive_counts_cost_is_refused(judge_all):
    with pytest.raises(UserError, match=r"costs .* with keep_mass from 0\.05"):
        at_mean_cost(dataclasses.replace(FIXED, keep_rate=0.99), SPEC, judge_all)


def test_a_plan_has_the_adaptive_counts_that_lie_in_a_folder(tmp_path):
    pruning = PruningConfig(keep_rate=1.0, keep_mass=0.4)
    pruning.save(tmp_path / "renyi_2_0.5.json")
    entries = adaptive(PruningConfig(), functools.partial(count_flops, SPEC), tmp_path)
    added = [entry for entry in entries if entry.method.endswith(", adaptive")]
    assert added == [Entry("renyi 2, adaptive", 0.5, pruning)]
