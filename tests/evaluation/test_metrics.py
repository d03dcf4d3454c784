"""The counts of one batch."""

import jax.numpy as jnp
import numpy as np

from renyi_jax.evaluation.metrics import count_batch
from renyi_jax.models import FUSED, patches_on_object


def counted(logits, labels, valid=None, positions=None, on_object=None):
    batch = len(labels)
    counts = count_batch(
        jnp.asarray(logits, jnp.float32),
        jnp.asarray(labels, jnp.int32),
        jnp.asarray([True] * batch if valid is None else valid),
        jnp.asarray([[0]] * batch if positions is None else positions, jnp.int32),
        None if on_object is None else jnp.asarray(on_object),
    )
    return {name: int(count) for name, count in counts._asdict().items()}


def test_top_1_and_top_5_agree_with_a_full_sort():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 10)), rng.integers(0, 10, 200)
    ranked = np.argsort(-logits, axis=1)
    counts = counted(logits, labels)
    assert counts["top1"] == np.sum(ranked[:, 0] == labels)
    assert counts["top5"] == np.sum([label in row[:5] for label, row in zip(labels, ranked)])


def test_images_that_fill_up_the_batch_count_for_nothing():
    logits = np.eye(4, 10)
    counts = counted(
        logits, [0, 1, 2, 3], [True, True, False, False], [[0, 1]] * 4, [[True, False]] * 4
    )
    assert counts == {
        "examples": 2,
        "top1": 2,
        "top5": 2,
        "patches": 4,
        "patches_on_object": 2,
    }


def test_with_fewer_than_five_classes_every_label_is_among_the_top_5():
    assert counted(np.eye(3), [2, 1, 0])["top5"] == 3


def test_a_model_that_gives_only_nan_is_not_right_about_everything():
    assert counted(np.full((10, 10), np.nan), range(10))["top1"] <= 1


def test_fused_tokens_are_no_patches():
    counts = counted(
        np.zeros((1, 10)), [0], positions=[[1, 2, FUSED]], on_object=[[True, True, False, True]]
    )
    assert (counts["patches"], counts["patches_on_object"]) == (2, 1)


def test_a_patch_lies_on_the_object_where_any_of_its_pixels_does():
    mask = np.zeros((1, 8, 12), bool)
    mask[0, 3, 3] = mask[0, 4, 11] = True
    on_object = patches_on_object(jnp.asarray(mask), 4)
    assert on_object.reshape(2, 3).tolist() == [[True, False, False], [False, False, True]]
