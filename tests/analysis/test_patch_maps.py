"""What a pruned block decided, on the patch grid."""

import numpy as np
import pytest

from renyi_jax.analysis.patch_maps import grey_out, stage_maps
from renyi_jax.pruning import FUSED, PruningConfig, PruningTrace, on_grid


def trace_of(*stages):
    return [
        PruningTrace(np.array([scores], np.float32), np.array([kept])) for scores, kept in stages
    ]


def test_values_lie_where_their_patches_were_and_nan_where_there_is_none():
    cells = on_grid(np.array([1.0, 2.0, 3.0]), np.array([0, 5, FUSED]), (2, 3))
    np.testing.assert_array_equal(cells, [[1, np.nan, np.nan], [np.nan, np.nan, 2]])


def test_a_later_block_shows_only_the_patches_that_entered_it():
    trace = trace_of(([-0.1, -0.2, -0.3, -0.4], [0, 2, 3]), ([-0.5, -0.6, -0.7], [2]))
    first, second = stage_maps(PruningConfig(blocks=(4, 7)), trace, (2, 2), 0)
    np.testing.assert_allclose(first.values, [[0.1, 0.2], [0.3, 0.4]], rtol=1e-6)
    np.testing.assert_array_equal(first.kept, [[True, False], [True, True]])
    np.testing.assert_allclose(second.values, [[0.5, np.nan], [0.6, 0.7]], rtol=1e-6)
    np.testing.assert_array_equal(second.kept, [[False, False], [True, False]])
    assert (first.block, second.block) == (4, 7)


def test_a_fused_token_is_shown_nowhere():
    trace = trace_of(([-1.0, -2.0, -3.0, -4.0], [1, 3, FUSED]), ([-5.0, -6.0, -7.0], [3, FUSED]))
    _, second = stage_maps(PruningConfig(blocks=(1, 2), reducer="fuse"), trace, (2, 2), 0)
    np.testing.assert_array_equal(second.values, [[np.nan, 5], [np.nan, 6]])
    assert second.kept.sum() == 1


def test_entropies_are_shown_in_nats_and_other_scores_as_they_are():
    pruning = PruningConfig(criterion=("shannon", "cls_attention"), blocks=(1, 2))
    trace = trace_of(([-1.0, -2.0], [0, 1]), ([0.25, 0.75], [1]))
    entropy, attention = stage_maps(pruning, trace, (1, 2), 0)
    assert entropy.quantity == "entropy (nats)" and entropy.values.tolist() == [[1, 2]]
    assert attention.quantity == "cls attention score"
    assert attention.values.tolist() == [[0.25, 0.75]]


def test_only_dropped_patches_are_greyed_out():
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    kept = np.array([[True, False, True], [False, True, False]])
    shown = grey_out(image, kept)
    pixels = kept.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(shown[pixels], image[pixels])
    assert np.ptp(shown[~pixels], axis=-1).max() < 16  # no colour is left


@pytest.mark.parametrize("grey", range(0, 256, 15))
def test_dropped_patches_stand_out_from_a_picture_of_any_grey(grey):
    image = np.full((8, 16, 3), grey, np.uint8)
    gone = grey_out(image, np.array([[True, False]]))[:, 8:].mean(axis=-1)
    # There are two tones, and one of them is far from that of the picture.
    assert np.ptp(gone) > 40 and np.abs(gone - grey).max() > 25
