"""The outcomes of one batch, and the metrics over a test split."""

import jax.numpy as jnp
import numpy as np
import pytest

from renyi_jax.evaluation.programs import Outcomes, judge, summarize
from renyi_jax.models import patches_on_object
from renyi_jax.pruning import FUSED, MASKED


def judged(logits, labels, positions=(), on_object=None) -> Outcomes:
    outcomes = judge(
        jnp.asarray(logits, jnp.float32),
        jnp.asarray(labels, jnp.int32),
        [jnp.asarray(each, jnp.int32) for each in positions],
        None if on_object is None else jnp.asarray(on_object),
    )
    return Outcomes(*map(np.asarray, outcomes))


def test_top_1_top_5_and_likelihood_agree_with_their_definitions():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 10)), rng.integers(0, 10, 200)
    ranked = np.argsort(-logits, axis=1)
    outcomes = judged(logits, labels)
    np.testing.assert_array_equal(outcomes.predicted, ranked[:, 0])
    np.testing.assert_array_equal(outcomes.top1, ranked[:, 0] == labels)
    np.testing.assert_array_equal(outcomes.top5, (ranked[:, :5] == labels[:, None]).any(axis=1))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -np.log(probabilities[np.arange(200), labels])
    np.testing.assert_allclose(outcomes.nll, expected, rtol=1e-5)


def test_with_fewer_than_five_classes_every_label_is_among_the_top_5():
    assert judged(np.eye(3), [2, 1, 0]).top5.all()


def test_a_model_that_gives_only_nan_is_not_right_about_everything():
    assert judged(np.full((10, 10), np.nan), range(10)).top1.sum() <= 1


def test_fused_and_masked_tokens_are_no_patches():
    outcomes = judged(
        np.zeros((1, 10)),
        [0],
        positions=[[[0, 1, 2, FUSED]], [[1, MASKED, FUSED]]],
        on_object=[[True, True, False, True]],
    )
    assert outcomes.kept.tolist() == [[3, 1]]
    assert outcomes.on_object.tolist() == [1]


def test_the_plain_model_keeps_every_patch():
    outcomes = judged(np.zeros((2, 10)), [0, 1], on_object=[[True, True, False], [False] * 3])
    row = summarize(outcomes, outcomes, num_patches=3, has_object_masks=True)
    assert row["kept_on_object"] == pytest.approx(2 / 6)
    assert row["mean_kept"] == [] and row["agreement"] == 1.0


def test_agreement_is_with_the_class_that_the_plain_model_gives_right_or_wrong():
    pruned, plain = judged(np.eye(4, 10), [0, 0, 0, 0]), judged(np.eye(4, 10)[::-1], [0, 0, 0, 0])
    assert summarize(pruned, plain, num_patches=3, has_object_masks=False)["agreement"] == 0.0
    assert summarize(pruned, pruned, num_patches=3, has_object_masks=False)["agreement"] == 1.0


def test_a_patch_lies_on_the_object_where_any_of_its_pixels_does():
    mask = np.zeros((1, 8, 12), bool)
    mask[0, 3, 3] = mask[0, 4, 11] = True
    on_object = patches_on_object(jnp.asarray(mask), 4)
    assert on_object.reshape(2, 3).tolist() == [[True, False, False], [False, False, True]]
