"""Tokens for whoever reads the features of an encoder."""

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_model, tiny_spec

from renyi_jax.attention import Evidence
from renyi_jax.entropy import attention_entropy
from renyi_jax.errors import UserError
from renyi_jax.pruning import PruningConfig, select_tokens

DRAW = np.random.default_rng(0)
FEATURES = jnp.asarray(DRAW.standard_normal((3, 12, 4)), jnp.float32)


@pytest.mark.parametrize("num_prefix", [0, 2])
def test_the_best_patches_are_kept_in_their_order_and_prefix_tokens_are_left_out(num_prefix):
    scores = DRAW.standard_normal((3, 12 - num_prefix)).astype(np.float32)
    values, positions = select_tokens(FEATURES, jnp.asarray(scores), 5)
    for image in range(3):
        expected = sorted(np.argsort(-scores[image], kind="stable")[:5])
        assert positions[image].tolist() == expected
        patches = FEATURES[image, num_prefix:]
        np.testing.assert_array_equal(values[image], patches[np.asarray(expected)])


def test_evidence_counts_by_its_entropy_or_by_what_the_criterion_reads():
    entropy = jnp.asarray(DRAW.random((3, 2, 12)), jnp.float32)
    sums = jnp.asarray(DRAW.random((3, 2, 12)), jnp.float32)
    evidence = Evidence(0, entropy=entropy, columns=jnp.log(sums))
    low = select_tokens(FEATURES, -entropy.mean(axis=1), 4)
    np.testing.assert_array_equal(select_tokens(FEATURES, evidence, 4).positions, low.positions)
    np.testing.assert_array_equal(
        select_tokens(FEATURES, evidence, 4, "received_attention").positions,
        select_tokens(FEATURES, sums.mean(axis=1), 4).positions,
    )


def test_the_tokens_of_an_unpruned_encoder_are_those_that_its_last_block_would_keep():
    spec = tiny_spec(class_token=False, pool="mean", num_classes=0)
    model = tiny_model(None, spec)
    images = jnp.asarray(DRAW.standard_normal((2, 16, 16, 3)), jnp.float32)

    def read(block, logits):
        return -attention_entropy(logits, 2.0, num_prefix=0).mean(axis=1)

    _, scores = model.read_attention(images, read)
    selected = select_tokens(model.forward_features(images), scores[-1], 8)
    pruned = model.with_pruning(PruningConfig(alpha=2.0, keep_rate=0.5, blocks=(spec.depth,)))
    np.testing.assert_array_equal(selected.positions, pruned(images, return_trace=True)[1][0].kept)
    np.testing.assert_allclose(selected.values, pruned.forward_features(images), atol=1e-5)


@pytest.mark.parametrize(
    ("scores", "count", "criterion", "told"),
    [
        (jnp.zeros((3, 13)), 4, "renyi", "of 13 patches, and features of 12 tokens"),
        (jnp.zeros((3, 12)), 0, "renyi", "between 1 and the 12 patches, got 0"),
        (jnp.zeros((3, 12)), 13, "renyi", "between 1 and the 12 patches, got 13"),
        (Evidence(0), 4, "renyi", "'renyi' reads entropy, which the evidence does not have"),
        (Evidence(0), 4, "cls_attention", "'cls_attention' reads class_row"),
        (Evidence(0), 4, "reny", "Did you mean 'renyi'"),
    ],
)
def test_what_does_not_fit_together_is_refused(scores, count, criterion, told):
    with pytest.raises(UserError, match=told):
        select_tokens(FEATURES, scores, count, criterion)
