"""Intervals and tests against known results."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from renyi_jax.common.statistics import holm, interval, paired_p_value


def test_the_interval_of_one_run_is_that_of_a_share():
    right = np.arange(2000)[None] < 1400
    low, high = interval(right)
    error = 1.96 * np.sqrt(0.7 * 0.3 / 2000)
    assert low == pytest.approx(0.7 - error, abs=0.003)
    assert high == pytest.approx(0.7 + error, abs=0.003)


def test_runs_that_differ_widen_the_interval():
    rng = np.random.default_rng(0)
    alike = np.repeat(rng.random((1, 1000)) < 0.7, 3, axis=0)
    apart = rng.random((3, 1000)) < np.array([[0.5], [0.7], [0.9]])
    (low, high), (wide_low, wide_high) = interval(alike), interval(apart)
    assert wide_high - wide_low > 2 * (high - low)


def test_what_never_varies_has_an_interval_of_one_point():
    assert interval(np.ones((2, 50), bool)) == (1.0, 1.0)


def test_one_run_is_tested_by_mcnemar():
    right, baseline = np.zeros((1, 100), bool), np.zeros((1, 100), bool)
    right[0, :10], baseline[0, 8:12] = True, True  # 8 for the one, 2 for the other
    expected = scipy.stats.binomtest(8, 10).pvalue
    assert paired_p_value(right, baseline) == pytest.approx(expected)


def test_equal_methods_differ_with_probability_one():
    right = np.random.default_rng(0).random((3, 40)) < 0.5
    assert paired_p_value(right, right) == 1.0


@pytest.mark.parametrize("runs", [1, 2])
def test_one_image_is_no_evidence(runs):
    baseline = np.zeros((runs, 40), bool)
    right = baseline.copy()
    right[0, 7] = True
    assert paired_p_value(right, baseline) == 1.0


def test_several_runs_are_tested_image_by_image():
    rng = np.random.default_rng(0)
    baseline = rng.random((3, 400)) < 0.6
    assert paired_p_value(baseline | (rng.random((3, 400)) < 0.2), baseline) < 0.001
    assert paired_p_value(rng.random((3, 400)) < 0.6, baseline) > 0.01


def test_holm_is_what_it_says_on_a_worked_example():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_a_corrected_p_value_is_no_smaller_and_keeps_the_order(p_values):
    corrected = holm(p_values)
    assert np.all(corrected >= p_values) and np.all(corrected <= 1)
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(corrected[order]) >= 0)
