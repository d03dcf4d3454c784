"""Budgets of time, on a clock that the tests wind."""

import numpy as np
import pytest
from tiny import tiny_model, tiny_spec

from renyi_jax.errors import UserError
from renyi_jax.planning import latency
from renyi_jax.planning.cost import solve
from renyi_jax.pruning import PruningConfig

METHODS = [{"criterion": name, "reducer": "drop"} for name in ("cls_attention", "column_norm")]


@pytest.fixture
def clock(monkeypatch):
    """A block takes 1 ms + 0.1 ms a patch; scoring by the second method 0.02 ms for a pair."""

    def times(calls, **_):
        return {name: [_seconds(name)] * 5 for name in calls}

    def _seconds(name):
        if name == "whole":
            return 3 * _block(16) * 1.5
        method, patches = name
        if method is None:
            return _block(patches)
        return (_block(patches) + _block(patches // 2)) / 2 + 2e-5 * method * patches**2

    def _block(patches):
        return 1e-3 + 1e-4 * patches

    monkeypatch.setattr(latency, "times_per_call", times)
    monkeypatch.setattr(latency, "_calls", _names)


def _names(model, methods, batch_size):
    names = ["whole", *((None, count) for count in (16, 12, 8, 4, 2))]
    names += [(place, count) for place in range(len(methods)) for count in (16, 8)]
    return dict.fromkeys(names, lambda: np.zeros(1))


def test_a_batch_costs_its_blocks_and_its_scoring_to_the_scale_of_the_whole_model(clock):
    cost = latency.seconds_of(tiny_model(), METHODS, 4)
    assert cost(()) == pytest.approx(1.5 * 3 * 2.6e-3)
    for place, method in enumerate(METHODS):
        pruning = PruningConfig(blocks=(2,), keep_rate=0.5, **method)
        expected = 2.6e-3 + (2.6e-3 + 1.8e-3) / 2 + place * 2e-5 * 16**2 + 1.8e-3
        assert cost(pruning.stages) == pytest.approx(1.5 * expected)


def test_what_is_slow_to_score_by_keeps_fewer_patches_in_the_same_time(clock):
    budget = latency.latency_budget(tiny_model(), METHODS, 4, 0.0105)
    kept = []
    for method in METHODS:
        pruning = PruningConfig(blocks=(1,), **method)
        solved = solve(pruning, (1.0,), budget, tiny_spec())
        kept.append(solved.stages[0].count(16) if solved else 0)
    assert kept[0] > kept[1]


def test_a_time_that_no_pruning_takes_is_refused_in_milliseconds(clock):
    with pytest.raises(UserError, match=r"latency_ms=1: expected milliseconds for a batch of 4"):
        latency.latency_budget(tiny_model(), METHODS, 4, 0.001)


def test_a_noisy_clock_is_told_with_its_spread(clock, monkeypatch):
    noisy = {"whole": [0.010, 0.010, 0.020, 0.020]}
    monkeypatch.setattr(latency, "times_per_call", lambda *_, **__: noisy)
    with pytest.raises(UserError, match=r"from 10 to 20 ms, a spread of 67%; expected at most 25%"):
        latency.seconds_of(tiny_model(), METHODS, 4)


def test_what_is_timed_runs(monkeypatch):
    calls = latency._calls(tiny_model(), METHODS[:1], 2)
    assert calls["whole"]().shape == (2, 10)
    tokens = calls[0, 16]()
    assert tokens.values.shape[1] == 1 + 8
