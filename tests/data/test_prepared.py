"""Prepared data that are damaged, and preparations that were killed or run side by side."""

import fcntl
import os
import shutil
import threading
import time

import ml_collections
import pytest

from renyi_jax.data.datasets import load_dataset
from renyi_jax.errors import UserError


def changed(data_config, **fields):
    config = ml_collections.ConfigDict(data_config.to_dict())
    config.update(fields)
    return config


@pytest.fixture
def copied(dataset, data_config, tmp_path):
    """The config of a copy of the prepared data set, and the folder of its files."""
    shutil.copytree(data_config.data_dir, tmp_path / "copy")
    (folder,) = (tmp_path / "copy").glob("cluttered_fashion_mnist/full/*.*.*")
    return changed(data_config, data_dir=str(tmp_path / "copy")), folder


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": cut,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_told_with_how_to_renew_it(copied, damage):
    config, folder = copied
    damage(next(folder.glob("*train*record*")))
    with pytest.raises(UserError, match=rf"damaged: .*train.*rm -r {folder}$"):
        load_dataset(config)
    shutil.rmtree(folder)
    assert len(load_dataset(config).train) == 60


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": 3}'])
def test_a_damaged_description_is_told_with_how_to_renew_it(copied, content):
    config, folder = copied
    (folder / "dataset_info.json").write_text(content)
    with pytest.raises(UserError, match=r"damaged: .*rm -r "):
        load_dataset(config)


def test_a_damaged_record_is_a_broken_image(copied):
    config, folder = copied
    file = next(folder.glob("*test*record*"))
    content = bytearray(file.read_bytes())
    content[5000] ^= 255
    file.write_bytes(content)
    dataset = load_dataset(config)
    with pytest.raises(UserError, match=r"record \d+ of test cannot be decoded"):
        for index in range(len(dataset.test)):
            dataset.test[index]


def test_what_a_killed_preparation_left_is_removed(data_config, tmp_path):
    left = tmp_path / "cluttered_fashion_mnist" / "full" / "incomplete.ABC123_1.0.0"
    left.mkdir(parents=True)
    (left / "half").write_text("a file")
    load_dataset(changed(data_config, data_dir=str(tmp_path)))
    assert [path.name for path in left.parent.iterdir() if path.is_dir()] == ["1.0.0"]


def test_a_second_process_waits_for_the_first_and_takes_what_it_made(copied, data_config, tmp_path):
    _, folder = copied
    target = tmp_path / "shared" / "cluttered_fashion_mnist" / "full"
    target.mkdir(parents=True)

    def first(lock):
        shutil.copytree(folder, target / "incomplete.X_1.0.0")
        time.sleep(0.5)
        os.rename(target / "incomplete.X_1.0.0", target / "1.0.0")
        lock.close()

    lock = open(target / ".preparing", "w")  # noqa: SIM115
    fcntl.flock(lock, fcntl.LOCK_EX)
    other = threading.Thread(target=first, args=(lock,))
    other.start()
    dataset = load_dataset(changed(data_config, data_dir=str(tmp_path / "shared"), manual_dir=""))
    other.join()
    assert len(dataset.train) == 60


def test_a_preparation_says_nothing_of_how_it_is_done(data_config, tmp_path, capfd):
    load_dataset(changed(data_config, data_dir=str(tmp_path)))
    told = capfd.readouterr()
    assert "Variant folder" not in told.err and "Unknown size" not in told.out + told.err


@pytest.mark.parametrize(
    "split",
    ["train[5:2]", "test[:0]", "train[200%:]", "train[", "", "train+", "train[a:b]", "train[:1e9]",
     "train[1:2:3]", "test[23:]", "all[:3]", "train[-100:]", "²"],
)  # fmt: skip
@pytest.mark.parametrize("field", ["train_split", "test_split"])
def test_an_expression_that_stands_for_no_example_is_refused_in_one_sentence(
    dataset, data_config, split, field
):
    with pytest.raises(UserError, match=rf"config\.data\.{field}=") as told:
        load_dataset(changed(data_config, **{field: split}))
    assert "\n" not in str(told.value) and "Traceback" not in str(told.value)


@pytest.mark.parametrize(
    "split, size",
    [("train", 60), ("train[:50%]", 30), ("train[10:]+test[:3]", 53), ("train[-5:]", 5),
     ("all", 83), ("val", 23), ("training[:1]", 1), (" test ", 23)],
)  # fmt: skip
def test_an_expression_stands_for_so_many_examples(dataset, data_config, split, size):
    assert len(load_dataset(changed(data_config, test_split=split)).test) == size
