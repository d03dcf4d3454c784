"""Broken images: others take their places in training, and evaluation leaves them out."""

import archives
import numpy as np
import pytest
from absl import logging

from renyi_jax.data.datasets import load_dataset
from renyi_jax.data.pipeline import eval_loader, train_loader
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


def test_each_broken_image_is_logged_once_with_its_id(make_dataset, configure, warnings):
    few = make_dataset(cut_train=(3, 77))
    for _ in range(2):
        list(batches(few, configure()))
    assert len(warnings) == 3 and len(few.train.broken) == 2
    assert any("train/b/003.jpg" in text for text in warnings)
    assert any("train/b/077.jpg" in text for text in warnings)
    assert "2 of 210 images cannot be decoded" in warnings[2]


def test_workers_give_the_same_batches_and_share_the_count(few, configure):
    alone = list(batches(few, configure(), num_epochs=1))
    together = list(batches(few, configure(), num_epochs=1, num_workers=2))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_too_many_stop_the_training_at_the_same_batch_on_any_number_of_workers(
    make_dataset, configure, num_workers
):
    dataset = make_dataset(cut_train=range(0, 210, 30))
    loader = batches(dataset, configure(), num_workers=num_workers)
    taken = 0
    with pytest.raises(UserError, match=r"6 of 210 .* At most 5 are passed over: mend"):
        for _ in loader:
            taken += 1
    loader.close()
    order = [int(i) for batch in batches(make_dataset(), configure()) for i in batch["index"]]
    names = dataset.train.source.names
    places = [place for place, index in enumerate(order) if int(names[index][8:11]) % 30 == 0]
    assert taken == places[5] // 10


def test_a_few_of_few_images_are_passed_over_and_never_half(make_dataset):
    few, half = make_dataset(cut_test=(0, 1)), make_dataset(cut_test=(0, 1, 2))
    assert len(list(eval_loader(few, batch_size=5, image_size=40))) == 1
    with pytest.raises(UserError, match="3 of 5"):
        list(eval_loader(half, batch_size=5, image_size=40))


@pytest.mark.parametrize("process", [0, 1])
def test_each_of_two_processes_comes_to_meet_all_broken_images(
    make_dataset, configure, warnings, process
):
    dataset = make_dataset(cut_train=(1, 50, 100))
    loader = batches(dataset, configure(), num_epochs=20, process_index=process, process_count=2)
    list(loader)
    assert sum("takes its place" in text for text in warnings) == 3
    assert "3 of 210 images cannot be decoded" in warnings[-1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_leaves_a_broken_image_out_and_names_it(make_dataset, warnings, num_workers):
    dataset = make_dataset(cut_test=(1, 4))
    found = list(eval_loader(dataset, batch_size=2, image_size=40, num_workers=num_workers))
    valid = np.concatenate([batch["valid"] for batch in found])
    assert len(valid) == 6 and valid.sum() == 3
    indices = np.concatenate([batch["index"] for batch in found])[valid].tolist()
    names = [dataset.test.source.names[index] for index in indices]
    assert sorted(names) == ["test/a/000.jpg", "test/a/002.jpg", "test/b/003.jpg"]
    assert all("broken" not in batch for batch in found)
    assert any("test/b/001.jpg" in text and "does not count" in text for text in warnings)
    assert "2 of 5 images cannot be decoded" in warnings[-1] and "test/a/004.jpg" in warnings[-1]


def test_a_split_of_broken_images_alone_is_refused_by_a_worker_too(make_dataset):
    dataset = make_dataset(cut_test=range(5))
    with pytest.raises(UserError, match="All images are broken"):
        list(eval_loader(dataset, batch_size=5, image_size=40, num_workers=1))


def test_a_resumed_iterator_goes_on_past_a_broken_image(few, configure):
    first, resumed = batches(few, configure()), batches(few, configure())
    for _ in range(7):
        next(first)
    resumed.set_state(first.get_state())
    np.testing.assert_array_equal(next(first)["image"], next(resumed)["image"])
