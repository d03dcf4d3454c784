"""Folders of images, read where they lie."""

import os
import sys

import archives
import ml_collections
import numpy as np
import pytest
from absl import logging
from PIL import Image

from renyi_jax.data import fingerprint
from renyi_jax.data.datasets import count_classes, load_dataset
from renyi_jax.data.pipeline import train_loader
from renyi_jax.errors import UserError
from renyi_jax.images import read_picture


def config(folder, **fields):
    defaults = {
        "name": "image_folder",
        "builder_config": "",
        "data_dir": "/nowhere",  # nothing is copied
        "manual_dir": str(folder),
        "train_split": "train",
        "test_split": "test",
        "test_share": 0.2,
    }
    return ml_collections.ConfigDict(defaults | fields)


def load(folder, **fields):
    return load_dataset(config(folder, **fields))


@pytest.fixture
def make(tmp_path):
    """A folder of so many images of each class of each split."""

    def making(sizes=None, **more):
        return archives.write_files(tmp_path / "pets", archives.folder_files(sizes) | more)

    return making


@pytest.fixture
def said(monkeypatch):
    lines = []
    for level in ("info", "warning"):
        monkeypatch.setattr(logging, level, lambda text, *args: lines.append(text % args))
    return lines


def counts(records):
    return np.bincount(records.labels()).tolist()


def test_a_folder_of_folders_is_a_data_set(make):
    dataset = load(make(**{"train/cat/notes.txt": b"", "train/.cache/x.jpg": b""}))
    assert dataset.class_names == ("cat", "dog")
    assert counts(dataset.train) == [5, 4] and counts(dataset.test) == [2, 3]
    assert dataset.train[0]["image"].shape[1:] == (60, 3)
    assert "tensorflow" not in sys.modules


def test_an_image_has_its_own_label_and_the_pixels_that_predict_sees(make):
    folder = make()
    expected = {
        np.asarray(read_picture(file)).tobytes(): file.parent.name
        for file in folder.glob("train/*/*")
    }
    dataset = load(folder)
    for index, label in enumerate(dataset.train.labels()):
        example = dataset.train[index]
        assert example["label"] == label
        assert expected.pop(example["image"].tobytes()) == dataset.class_names[label]
    assert not expected


def test_training_and_evaluation_see_upright_images_of_sixteen_bits_too(make):
    exif = Image.Exif()
    exif[0x0112] = 6
    levels = np.arange(48 * 32, dtype=np.uint16).reshape(48, 32) * 42
    folder = make({"train": {"a": 1}, "test": {"a": 1}})
    for split in ("train", "test"):
        Image.fromarray(levels).save(folder / split / "a" / "grey.png", exif=exif)
    upright = np.rot90((levels.astype(float) / 257).round(), -1)
    for records in (load(folder).train, load(folder).test):
        (grey,) = (i for i, name in enumerate(records.source.names) if "grey" in name)
        np.testing.assert_array_equal(records[grey]["image"][..., 0], upright)


def test_what_changes_in_the_folder_is_read_and_changes_the_fingerprint(make):
    folder = make()
    first = fingerprint(load(folder).train)
    assert fingerprint(load(folder).train) == first
    (folder / "train/cat/4.jpg").rename(folder / "train/dog/9.jpg")
    moved = load(folder).train
    assert counts(moved) == [4, 5]
    content = bytearray((folder / "train/dog/0.jpg").read_bytes())
    content[-10] ^= 1
    (folder / "train/dog/0.jpg").write_bytes(content)
    assert len({first, fingerprint(moved), fingerprint(load(folder).train)}) == 2
    assert fingerprint(load(folder).test) == fingerprint(load(folder).test)


def test_a_folder_that_moves_keeps_its_fingerprints(make, tmp_path):
    folder = make()
    first = fingerprint(load(folder).train)
    folder.rename(tmp_path / "moved")
    assert fingerprint(load(tmp_path / "moved").train) == first


@pytest.mark.parametrize("name", ["val", "validation", "valid", "test", "Test"])
def test_names_of_the_test_split_stand_for_each_other(make, name):
    folder = make({"train": {"a": 2, "b": 2}, name: {"a": 1}})
    assert len(load(folder).test) == 1
    assert len(load(folder, test_split="val[:1]").test) == 1


def test_a_split_keeps_its_own_name_where_there_are_several(make):
    folder = make({"train": {"a": 2}, "val": {"a": 1}, "test": {"a": 3}, "all": {"a": 6}})
    for name, size in (("val", 1), ("test", 3), ("all", 6), ("val+test", 4)):
        assert len(load(folder, test_split=name).test) == size


def test_a_folder_with_only_a_validation_split_can_be_evaluated_and_not_trained_on(make):
    dataset = load(make({"val": {"a": 1, "b": 2}}))
    assert counts(dataset.test) == [1, 2] and len(dataset.train) == 0
    with pytest.raises(UserError, match="image_folder has no images to train on"):
        train_loader(dataset, config(""), batch_size=1, image_size=8, seed=0)


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_without_a_test_split_the_share_of_each_class_is_kept_for_it(make, prefix, said):
    sizes = {f"{prefix}cat": {"": 20}, f"{prefix}dog": {"": 10}, f"{prefix}emu": {"": 1}}
    folder = make(sizes)
    dataset = load(folder)
    assert counts(dataset.train) == [16, 8, 1] and counts(dataset.test) == [4, 2]
    images = [dataset.train[i]["image"].tobytes() for i in range(25)]
    assert not set(images) & {dataset.test[i]["image"].tobytes() for i in range(6)}
    assert any("6 of its 31 images are kept for testing" in line for line in said)
    assert fingerprint(load(folder).test) == fingerprint(dataset.test)
    assert counts(load(folder, test_share=0.5).test) == [10, 5]
    assert count_classes(config(folder)) == 3


def test_all_of_a_folder_of_classes_can_be_tested_on(make):
    dataset = load(make({"cat": {"": 3}, "dog": {"": 2}}), test_share=1.0)
    assert counts(dataset.test) == [3, 2] and len(dataset.train) == 0


def test_a_class_may_be_called_as_a_split(make):
    assert load(make({"bus": {"": 5}, "train": {"": 5}})).class_names == ("bus", "train")


def test_a_part_of_a_split_has_images_of_all_classes(make):
    folder = make({"train": {"a": 50, "b": 50}, "test": {"a": 1}})
    a, b = counts(load(folder, train_split="train[:50%]").train)
    assert a + b == 50 and min(a, b) > 10


def test_every_format_is_read_and_the_rest_is_counted(make, said):
    folder = make({"train": {"cat": 1}, "test": {"cat": 1}})
    for suffix in ("webp", "gif", "png", "avif", "bmp", "tif", "jp2"):
        Image.new("RGB", (8, 8)).save(folder / f"train/cat/x.{suffix}")
    (folder / "train/cat/._x.jpg").write_bytes(b"")
    (folder / "train/cat/y.HEIC").write_bytes(b"")
    (folder / "train/loose.jpg").write_bytes(b"")
    assert len(load(folder).train) == 8
    (line,) = said
    for words in ("hidden files (1)", ".heic files (1)", "outside of the folders of classes (1)"):
        assert words in line


def test_folders_without_images_are_no_classes_and_told(make, said):
    folder = make()
    (folder / "train" / "emu").mkdir()
    (folder / "test" / "emu").mkdir()
    assert load(folder).class_names == ("cat", "dog")
    assert any("train/emu" in line and "without images" in line for line in said)


def test_classes_may_be_links_and_loops_lead_nowhere(make, tmp_path):
    folder = make()
    (tmp_path / "emus").mkdir()
    (folder / "train/cat/0.jpg").rename(tmp_path / "emus" / "0.jpg")
    (folder / "train" / "emu").symlink_to(tmp_path / "emus")
    (folder / "train" / "loop").symlink_to("..")
    (folder / "loop").symlink_to(".")
    dataset = load(folder)
    assert dataset.class_names == ("cat", "dog", "emu")
    assert counts(dataset.train) == [4, 4, 1]


def test_names_that_are_no_text_are_told_as_text(make):
    folder = make({"train": {"a": 1}, "test": {"a": 1}})
    for split in ("train", "test"):
        path = os.path.join(os.fsencode(folder), split.encode(), b"caf\xe9\n")
        os.mkdir(path)
        with open(os.path.join(path, b"\xff.jpg"), "wb") as file:
            file.write(archives.jpeg(Image.new("RGB", (8, 8))))
    dataset = load(folder)
    assert dataset.class_names == ("a", r"caf\xe9\n")
    assert all(dataset.test[index]["image"].shape[2] == 3 for index in range(2))


WRONG = {
    "class only in test": (
        {"train": {"cat": 1}, "test": {"cat": 1, "dog": 1}},
        {},
        "classes in test that nothing can learn, .* no image of them: dog",
    ),
    "unknown split": ({}, {"test_split": "tets"}, r"'tets' is not a split .* Did you mean 'test'"),
    "no test": (
        {"train": {"cat": 1}},
        {"test_share": 0.0},
        r"'test' is not a split .* Known: train \(1\)",
    ),
    "no classes": ({"train": {"": 1}, "test": {"": 1}}, {}, "no images in folders of classes"),
    "builder config": ({}, {"builder_config": "x"}, "builder_config='x': image_folder has none"),
    "no folder": ({}, {"manual_dir": ""}, "manual_dir is empty. Give as manual_dir a folder of"),
}


@pytest.mark.parametrize("sizes, fields, message", WRONG.values(), ids=WRONG)
def test_a_wrong_folder_is_refused_with_what_is_wrong(make, sizes, fields, message):
    folder = make(sizes or None)
    with pytest.raises(UserError, match=message):
        load_dataset(config(folder, **fields))


def test_a_folder_of_what_cannot_be_decoded_says_what_to_do(tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "x.heic").write_bytes(b"")
    with pytest.raises(UserError, match=r"\.heic files \(1\).*Convert images"):
        load(tmp_path)
