"""How many patches stay, and which."""

import math
from decimal import Decimal

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import kept_indices

from renyi_jax.errors import UserError
from renyi_jax.pruning import keep_count, keep_counts, select
from renyi_jax.pruning.keep import keep_rate_of

rates = st.decimals(Decimal("0.001"), Decimal(1), places=3)


@pytest.mark.parametrize(
    ("keep_rate", "counts"),
    [
        (0.7, (138, 97, 68)),
        (0.5, (98, 49, 25)),
        (1.0, (196, 196, 196)),
        ((0.7, 1.0, 0.5), (138, 138, 69)),
    ],
)
def test_196_patches_leave_the_published_counts(keep_rate, counts):
    assert keep_counts(196, keep_rate=keep_rate, stages=3) == counts


@given(st.integers(1, 5000), rates)
def test_the_count_is_the_ceiling_of_the_exact_decimal_product(num_patches, rate):
    assert keep_count(num_patches, float(rate)) == math.ceil(rate * num_patches)


@given(st.integers(1, 5000), rates)
def test_at_least_one_patch_and_no_more_than_there_are_stay(num_patches, rate):
    assert 1 <= keep_count(num_patches, float(rate)) <= num_patches


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, math.nan, math.inf])
def test_a_keep_rate_outside_0_to_1_is_refused(rate):
    with pytest.raises(UserError, match="keep_rate must lie in"):
        keep_count(196, rate)


def test_as_many_rates_as_stages_are_asked_for():
    with pytest.raises(UserError, match="2 values for 3 stages"):
        keep_counts(196, keep_rate=(0.7, 0.5), stages=3)


@given(hnp.arrays(np.float32, (2, 9), elements=st.sampled_from([-1.0, 0.0, 0.25, 3.0])), rates)
def test_selection_keeps_the_best_in_their_order_and_ties_go_to_the_lower_index(scores, rate):
    kept = select(jnp.asarray(scores), keep_count(9, float(rate)))
    for row, indices in zip(scores.tolist(), kept):
        assert indices.tolist() == kept_indices(row, str(rate))


@given(st.integers(1, 3000), st.data())
def test_a_count_has_a_shortest_keep_rate(num_patches, data):
    count = data.draw(st.integers(1, num_patches))
    rate = keep_rate_of(num_patches, count)
    assert keep_count(num_patches, rate) == count
    shorter = str(Decimal(str(rate)))[:-1].rstrip(".")
    assert len(str(rate)) == 3 or keep_count(num_patches, float(shorter) or 1.0) != count
