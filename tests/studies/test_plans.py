"""What the studies compare."""

import functools

import numpy as np
import pytest

from renyi_jax.models.flops import count_flops
from renyi_jax.models.registry import model_spec
from renyi_jax.pruning import PruningConfig
from studies.features import cosine, probe
from studies.plans import CLS, PLANS

COST = functools.partial(count_flops, model_spec("vit_nano_patch4_56"))


@pytest.mark.parametrize("name", PLANS)
def test_every_plan_names_each_of_its_entries_once_and_has_the_baseline_at_every_rate(name):
    entries = list(PLANS[name](PruningConfig(), COST))
    names = [entry[:2] for entry in entries]
    assert len(set(names)) == len(names)
    assert {rate for _, rate in names} == {rate for method, rate in names if method == CLS}


def test_other_places_cost_no_more_but_nearly_as_much():
    entries = list(PLANS["places"](PruningConfig(), COST))
    base = {entry[:2]: COST(entry.pruning) for entry in entries if " at " not in entry.method}
    moved = [entry for entry in entries if " at " in entry.method]
    assert moved
    for entry in moved:
        budget = base[entry.method.split(" at ")[0], entry.rate]
        assert 0.97 * budget < COST(entry.pruning) <= budget, entry


def test_a_probe_finds_classes_that_lie_apart_and_nothing_in_noise():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    noise = rng.normal(size=(200, 8))
    assert probe(noise + 9 * np.eye(8)[labels], labels).mean() > 0.95
    assert probe(noise, labels).mean() < 0.5


def test_the_cosine_of_a_token_with_itself_is_1_at_any_length():
    tokens = np.random.default_rng(0).normal(size=(5, 8))
    np.testing.assert_allclose(cosine(tokens, 3 * tokens), 1)
