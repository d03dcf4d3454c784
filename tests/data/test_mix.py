import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renyi_jax.data.augment import mixup_cutmix

BATCH, HEIGHT, WIDTH, CLASSES = 4, 10, 16, 4


def mixed(count=300, mixup=0.8, cutmix=1.0, **options):
    """Batches in which every pixel tells which images it came from, and in which shares."""
    rows = jnp.eye(CLASSES)
    images = jnp.broadcast_to(rows[:, None, None], (BATCH, HEIGHT, WIDTH, CLASSES))

    @jax.jit
    @jax.vmap
    def draws(key):
        return mixup_cutmix(key, images, rows, mixup=mixup, cutmix=cutmix, **options)

    return jax.device_get(draws(jax.random.split(jax.random.key(0), count)))


OPTIONS = [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)]


@pytest.mark.parametrize("mixup, cutmix", OPTIONS)
def test_labels_are_mixed_as_the_pixels_are(mixup, cutmix):
    images, labels = mixed(mixup=mixup, cutmix=cutmix)
    np.testing.assert_allclose(images.mean(axis=(2, 3)), labels, atol=1e-5)
    np.testing.assert_allclose(labels.sum(axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize("mixup, cutmix", OPTIONS)
def test_each_image_is_mixed_with_its_neighbour(mixup, cutmix):
    _, labels = mixed(mixup=mixup, cutmix=cutmix)
    for row, partners in zip(labels.mean(axis=0), [{0, 1}, {0, 1}, {2, 3}, {2, 3}]):
        assert set(np.nonzero(row)[0]) == partners


def test_the_last_of_an_odd_number_stays_as_it_is():
    images = jax.random.uniform(jax.random.key(0), (3, 4, 4, 1))
    mixed, labels = mixup_cutmix(jax.random.key(1), images, jnp.eye(3), mixup=0.8, cutmix=0.0)
    np.testing.assert_allclose(mixed[2], images[2], atol=1e-6)
    np.testing.assert_allclose(labels[2], jnp.eye(3)[2], atol=1e-6)
    assert labels[0, 1] > 0


def test_mixup_takes_the_same_share_of_every_pixel_drawn_from_its_beta():
    images, labels = mixed(2000, cutmix=0.0)
    assert np.ptp(images, axis=(2, 3)).max() < 1e-6
    lam = labels[:, 0, 0]
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
    assert abs(lam.mean() - 0.5) < 0.02
    assert abs(lam.var() - 1 / (4 * (2 * 0.8 + 1))) < 0.01


def test_cutmix_swaps_one_rectangle_of_the_images_own_shape():
    images, labels = mixed(mixup=0.0)
    swapped = images[:, 0, :, :, 0] == 0
    assert set(np.unique(images)) == {0, 1}
    for mask in swapped:
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        assert mask.sum() == rows.sum() * columns.sum()
        assert (np.diff(np.nonzero(rows)[0]) == 1).all()
        assert (np.diff(np.nonzero(columns)[0]) == 1).all()
    np.testing.assert_allclose(1 - swapped.mean(axis=(1, 2)), labels[:, 0, 0], atol=1e-6)
    # lam is uniform under Beta(1, 1); the border cuts rectangles, so less than half is swapped.
    assert 0.2 < swapped.mean() < 0.5


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_cutmix_is_it_with_its_probability(share):
    images, _ = mixed(1000, cutmix_probability=share)
    is_cut = np.isin(images, (0, 1)).all(axis=(1, 2, 3, 4))
    assert abs(is_cut.mean() - share) < 0.06


def test_batches_are_left_alone_with_the_probability_that_is_left():
    _, labels = mixed(1000, probability=0.4)
    alone = (labels == np.eye(CLASSES)).all(axis=(1, 2))
    # CutMix may draw an empty rectangle too.
    assert 0.55 < alone.mean() < 0.68


def test_without_mixup_and_cutmix_nothing_happens():
    images, labels = mixed(3, mixup=0.0, cutmix=0.0)
    assert (labels == np.eye(CLASSES)).all() and np.ptp(images, axis=(2, 3)).max() == 0
