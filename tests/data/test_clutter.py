import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from renyi_jax.data.clutter import canvas_rng, cluttered_canvas, compose

greys = hnp.arrays(np.uint8, (28, 28))
streams = st.tuples(*[st.integers(0, 2**32 - 1)] * 3)


@settings(deadline=None, max_examples=50)
@given(streams, greys, st.integers(0, 8))
def test_the_mask_holds_every_pixel_of_the_garment_and_no_other(stream, garment, num_others):
    others = np.full((num_others, 28, 28), 255, np.uint8)
    image, mask = cluttered_canvas(canvas_rng(*stream), garment, others)
    assert image.shape == mask.shape == (56, 56)
    # Same pixels in the same order: the whole garment is within the canvas, and on top.
    np.testing.assert_array_equal(image[mask], garment[garment > 0])
    if mask.any():
        (rows, columns), (on_y, on_x) = np.nonzero(mask), np.nonzero(garment)
        assert len({(int(a), int(b)) for a, b in zip(rows - on_y, columns - on_x)}) == 1


@settings(deadline=None, max_examples=50)
@given(streams, greys)
def test_the_same_stream_gives_the_same_canvas(stream, garment):
    others = np.arange(8 * 28 * 28, dtype=np.uint8).reshape(8, 28, 28)
    first, second = (cluttered_canvas(canvas_rng(*stream), garment, others) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_streams_of_another_seed_epoch_or_index_differ():
    streams = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    draws = {canvas_rng(*stream).integers(2**63) for stream in streams}
    assert len(draws) == len(streams)


def test_without_others_the_garment_stands_alone():
    garment = np.full((28, 28), 7, np.uint8)
    image, mask = cluttered_canvas(canvas_rng(0, 0, 0), garment, np.empty((0, 28, 28), np.uint8))
    assert mask.sum() == 28 * 28
    assert not image[~mask].any()


def test_fragments_cover_at_most_their_own_area_and_keep_their_grey_levels():
    blank, others = np.zeros((28, 28), np.uint8), np.full((8, 28, 28), 9, np.uint8)
    for index in range(50):
        image, mask = cluttered_canvas(canvas_rng(0, 0, index), blank, others)
        assert not mask.any()
        assert set(np.unique(image)) == {0, 9}
        assert 81 <= (image > 0).sum() <= 8 * 81


def test_garments_and_fragments_reach_every_corner_of_the_canvas():
    garment, others = np.ones((28, 28), np.uint8), np.full((8, 28, 28), 9, np.uint8)
    reached_by_garment, reached_by_fragments = np.zeros((2, 56, 56), bool)
    for index in range(3000):
        image, mask = cluttered_canvas(canvas_rng(0, 0, index), garment, others)
        reached_by_garment |= mask
        reached_by_fragments |= image == 9
    assert reached_by_garment.all()
    assert reached_by_fragments.all()


def test_no_fragment_comes_from_the_garment_itself():
    garments = np.zeros((5, 28, 28), np.uint8)
    for index in range(5):
        garments[:] = 0
        garments[index] = 200
        for epoch in range(20):
            image, mask = compose(canvas_rng(0, epoch, index), garments, index)
            assert not image[~mask].any()
