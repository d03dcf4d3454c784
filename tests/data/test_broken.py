"""Broken images: others take their places in training, evaluation names them."""

import archives
import numpy as np
import pytest
from absl import logging

from renyi_jax.data import broken, eval_loader, load_dataset, train_loader
from renyi_jax.data.dataset import BrokenImageError
from renyi_jax.errors import UserError
from renyi_jax.images import decode

NUM_TRAIN = 210


@pytest.fixture(scope="module")
def make_dataset(tmp_path_factory, configure):
    """Data sets of images of one colour each, of which some were cut in their middle."""

    def make(cut_train=(), cut_test=()):
        folder = tmp_path_factory.mktemp("images")
        files = {}
        for split, size, cut in (("train", NUM_TRAIN, cut_train), ("test", 5, cut_test)):
            for index in range(size):
                content = archives.jpeg(archives.photo(np.random.default_rng(index), 40, 40))
                kept = len(content) // 2 if index in cut else len(content)
                files[f"{split}/{'ab'[index % 2]}/{index:03d}.jpg"] = content[:kept]
        archives.write_files(folder / "data", files)
        return load_dataset(
            configure(name="image_folder", data_dir=str(folder), manual_dir=f"{folder}/data")
        )

    return make


@pytest.fixture(scope="module")
def few(make_dataset):
    return make_dataset(cut_train=(3, 77))


def batches(dataset, options, **arguments):
    defaults = {"batch_size": 10, "image_size": 40, "seed": 0, "num_epochs": 2}
    return train_loader(dataset, options, **(defaults | arguments))


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: said.append(text % args))
    return said


def test_the_next_image_of_the_same_epoch_takes_the_place(few, make_dataset, configure):
    options = configure()
    whole = [list(batch["image"]) for batch in batches(make_dataset(), options)]
    replaced = [list(batch["image"]) for batch in batches(few, options)]
    cut = {archives_pixels(3), archives_pixels(77)}
    for epoch in (0, 1):
        order = [
            image.tobytes() for batch in whole[epoch * 21 : epoch * 21 + 21] for image in batch
        ]
        got = [
            image.tobytes() for batch in replaced[epoch * 21 : epoch * 21 + 21] for image in batch
        ]
        for place, pixels in enumerate(order):
            while pixels in cut:
                place += 1
                pixels = order[place % len(order)]
            assert got.pop(0) == pixels


def archives_pixels(index):
    content = archives.jpeg(archives.photo(np.random.default_rng(index), 40, 40))
    return np.asarray(decode(content)).tobytes()


def test_each_broken_image_is_logged_once_with_its_id(few, configure, warnings):
    list(batches(few, configure()))
    assert len(warnings) == 2
    assert any("train/b/003.jpg" in text for text in warnings)
    assert any("train/b/077.jpg" in text for text in warnings)
    assert "(broken so far: 2 of 210)" in warnings[1]


def test_workers_give_the_same_batches_and_share_the_count(few, configure):
    alone = list(batches(few, configure(), num_epochs=1))
    together = list(batches(few, configure(), num_epochs=1, num_workers=2))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])


def test_more_than_one_in_a_hundred_stop_the_training(make_dataset, configure):
    dataset = make_dataset(cut_train=(1, 50, 100))
    with pytest.raises(UserError, match="More than 1% of the training images are broken: 3 of 210"):
        list(batches(dataset, configure()))


@pytest.mark.parametrize("process", [0, 1])
def test_each_of_two_processes_comes_to_meet_all_broken_images(
    make_dataset, configure, warnings, process
):
    dataset = make_dataset(cut_train=(1, 50, 100))
    loader = batches(dataset, configure(), num_epochs=20, process_index=process, process_count=2)
    with pytest.raises(UserError, match="3 of 210"):
        list(loader)
    assert sum("takes its place" in text for text in warnings) == 3


def test_evaluation_stops_at_a_broken_image_and_names_it(make_dataset):
    dataset = make_dataset(cut_test=(4,))
    with pytest.raises(BrokenImageError, match=r"test/a/004\.jpg"):
        list(eval_loader(dataset, batch_size=5, image_size=40))


def test_the_count_ends_with_the_loader():
    images = broken.BrokenImages(100)
    images.add(BrokenImageError("x", "cut"))
    images.add(BrokenImageError("x", "cut"))
    assert len(images) == 1
    with pytest.raises(UserError):
        images.add(BrokenImageError("y", "cut"))
