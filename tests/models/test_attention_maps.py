"""The attention of every block as arrays."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from tiny import tiny_model, tiny_spec

import renyi_jax
from renyi_jax.errors import UserError
from renyi_jax.models import attention_statistics, normalize_images
from renyi_jax.models.attention_maps import attention_distance
from renyi_jax.pruning import PruningConfig

PRUNING = PruningConfig(keep_rate=0.5, blocks=(1, 2), reducer="fuse")


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(0), (2, 16, 16, 3))


def test_there_is_a_map_of_attention_for_every_block_whose_rows_sum_to_1(images):
    maps = renyi_jax.attention_maps(tiny_model(), images)
    assert [each.shape for each in maps] == [(2, 2, 17, 17)] * 3
    np.testing.assert_allclose(np.stack(maps).sum(axis=-1), 1, rtol=1e-5)


def test_maps_of_entropy_are_the_entropies_of_the_maps_of_attention(images):
    model = tiny_model()
    orders = (0.5, np.inf)
    found = renyi_jax.entropy_maps(model, images, orders)
    assert found.shape == (2, 3, 2, 4, 4)
    for block, attention in enumerate(renyi_jax.attention_maps(model, images)):
        patches = attention[:, :, 1:, 1:]
        patches = patches / patches.sum(axis=-1, keepdims=True)
        for order, alpha in enumerate(orders):
            entropy = renyi_jax.entropy.renyi_entropy(patches, alpha).mean(axis=1)
            np.testing.assert_allclose(
                found[order, block].reshape(2, -1), entropy, rtol=1e-4, atol=1e-4
            )


def test_maps_of_a_pruned_model_are_empty_where_it_has_dropped_patches(images):
    pruned = tiny_model(PRUNING)
    _, trace = nnx.jit(lambda model, images: model(images, return_trace=True))(pruned, images)
    maps = renyi_jax.entropy_maps(pruned, images, 2.0)[0]
    assert not np.isnan(maps[0]).any()
    for stage, entropies in zip(trace, maps[1:]):
        for kept, entropy in zip(stage.kept, entropies.reshape(2, -1)):
            np.testing.assert_array_equal(np.flatnonzero(~np.isnan(entropy)), kept[kept >= 0])
    # What the second block is judged by is what it shows.
    entered = np.where(trace[0].kept >= 0, trace[1].scores, np.nan)
    shown = np.sort(maps[1].reshape(2, -1), axis=-1)[:, : entered.shape[1]]
    np.testing.assert_allclose(shown, np.sort(-entered, axis=-1), rtol=1e-5)


def test_pixels_and_pillow_images_are_normalised_as_the_model_wants_them():
    model = tiny_model()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    normalised = normalize_images(jnp.asarray(pixels), model.spec.mean, model.spec.std)
    expected = renyi_jax.attention_maps(model, normalised)
    for images in (pixels, jnp.asarray(pixels), list(map(Image.fromarray, pixels)), list(pixels)):
        for found, wanted in zip(renyi_jax.attention_maps(model, images), expected):
            np.testing.assert_allclose(found, wanted, rtol=1e-5)
    found, wanted = (renyi_jax.entropy_maps(model, images) for images in (pixels, normalised))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.fixture
def without_type_checks():
    """As users run it: what is no batch of images comes as far as the model."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([np.zeros((16, 16, 3), np.uint8), np.zeros((16, 8, 3), np.uint8)], "one for all"),
        (np.zeros((16, 16, 3), np.uint8), "expected floats .batch, height, width, 3"),
        (np.zeros((1, 16, 16, 3), np.int64), "An array of int"),
        (np.zeros((1, 20, 16, 3), np.uint8), "Images are 20 x 16 pixels"),
    ],
    ids=["sizes", "one picture", "integers", "size"],
)
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
def test_what_is_no_batch_of_images_is_refused_in_words(images, message):
    with pytest.raises(UserError, match=message):
        renyi_jax.attention_maps(tiny_model(), images)


def test_an_order_that_is_none_is_refused(images):
    with pytest.raises(UserError, match="must lie in"):
        renyi_jax.entropy_maps(tiny_model(), images, (2.0, 0.0))


def test_a_model_is_compiled_once_for_all_orders_and_images(images, count_compilations):
    model = tiny_model()
    renyi_jax.entropy_maps(model, images, (1.0, 2.0))
    with count_compilations() as compiled:
        renyi_jax.entropy_maps(model, 2 * images, (3.0, 0.5))
    assert "_statistics" not in " ".join(compiled)


def test_the_distance_of_attention_is_in_pixels():
    """Four patches of 5 pixels: attention to one's own is 0, to the diagonal 5 sqrt(2)."""
    logits = jnp.full((1, 1, 5, 5), -1e9)
    for query, key in enumerate((0, 1, 2, 2, 1)):
        logits = logits.at[0, 0, query, key].set(0.0)
    distance = attention_distance(logits, jnp.arange(4)[None], (2, 2), 5)
    np.testing.assert_allclose(distance[0, 0], [0, 0, 5 * 2**0.5, 5 * 2**0.5], atol=1e-6)


def test_even_attention_reaches_the_mean_distance_of_all_patches():
    distance = attention_distance(jnp.zeros((1, 1, 4, 4)), jnp.arange(3)[None], (1, 3), 2)
    np.testing.assert_allclose(distance[0, 0], [2, 4 / 3, 2], rtol=1e-6)


def test_tokens_without_a_place_attract_no_distance():
    logits = jnp.zeros((1, 1, 4, 4)).at[..., 3].set(100.0)
    distance = attention_distance(logits, jnp.array([[0, 2, -1]]), (1, 3), 1)
    np.testing.assert_allclose(distance[0, 0, :2], [1, 1], rtol=1e-6)


def test_statistics_are_for_each_head(images):
    spec = tiny_spec(num_registers=2, prefix_embedded=False)
    blocks = attention_statistics(tiny_model(PRUNING, spec), images, (1.0, 2.0))
    assert [block.entropies.shape for block in blocks] == [(2, 2, 2, m) for m in (16, 9, 6)]
    assert [block.distances.shape for block in blocks] == [(2, 2, m) for m in (16, 9, 6)]
