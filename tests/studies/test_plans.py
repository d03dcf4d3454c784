"""What the studies compare."""

import functools

import numpy as np
import pytest

from renyi_jax.models.flops import count_flops
from renyi_jax.models.registry import model_spec
from renyi_jax.pruning import PruningConfig
from studies.features import cosine
from studies.plans import CLS, PLANS
from studies.probes import FINE, mean_iou, probe

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


def test_patches_that_tell_their_object_outline_it_and_noise_does_not():
    rng = np.random.default_rng(0)
    masks = np.zeros((40, 8 * FINE, 8 * FINE), bool)
    for mask, (top, left) in zip(masks, FINE * rng.integers(0, 5, size=(40, 2))):
        mask[top : top + 3 * FINE, left : left + 3 * FINE] = True
    noise = rng.normal(size=(40, 8, 8, 6)).astype(np.float32)
    telling = noise + 20 * masks[:, ::FINE, ::FINE, None]
    assert mean_iou(telling, masks).min() > 0.9
    # All is taken for background, whose share is 55 of 64 patches.
    np.testing.assert_allclose(mean_iou(noise, masks).mean(), 55 / 64 / 2, atol=0.02)


def test_the_cosine_of_a_token_with_itself_is_1_at_any_length():
    tokens = np.random.default_rng(0).normal(size=(5, 8))
    np.testing.assert_allclose(cosine(tokens, 3 * tokens), 1)
