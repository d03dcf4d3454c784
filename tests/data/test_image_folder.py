import sys

import archives
import ml_collections
import pytest

from renyi_jax.data import load_dataset
from renyi_jax.errors import UserError


def config(data_dir, manual_dir, **fields):
    defaults = {
        "name": "image_folder",
        "builder_config": "",
        "data_dir": str(data_dir),
        "manual_dir": str(manual_dir),
        "train_split": "train",
        "test_split": "test",
    }
    return ml_collections.ConfigDict(defaults | fields)


def test_a_folder_of_folders_is_a_data_set(tmp_path):
    files = archives.folder_files() | {"train/cat/notes.txt": b"", "train/.cache/x.jpg": b""}
    dataset = load_dataset(config(tmp_path, archives.write_files(tmp_path / "pets", files)))
    assert dataset.class_names == ("cat", "dog")
    assert sorted(dataset.train.labels()) == [0] * 5 + [1] * 4
    assert sorted(dataset.test.labels()) == [0] * 2 + [1] * 3
    assert dataset.train[0]["image"].shape[1:] == (60, 3)
    assert "tensorflow" not in sys.modules


def test_a_changed_folder_is_read_anew_and_an_unchanged_one_is_not(tmp_path):
    folder = archives.write_files(tmp_path / "pets", archives.folder_files())
    prepared = tmp_path / "prepared"
    load_dataset(config(prepared, folder))
    load_dataset(config(prepared, folder))
    assert len(list(prepared.glob("image_folder/*"))) == 1
    (folder / "train/cat/4.jpg").unlink()
    assert len(load_dataset(config(prepared, folder)).train) == 8


def test_any_other_folder_beside_train_is_a_split(tmp_path):
    files = archives.folder_files({"train": {"a": 2, "b": 2}, "val": {"a": 1}})
    folder = archives.write_files(tmp_path / "pets", files)
    assert len(load_dataset(config(tmp_path, folder, test_split="val")).test) == 1
    with pytest.raises(UserError, match=r"'test' is not a split .* Known: train, val"):
        load_dataset(config(tmp_path, folder))


WRONG = {
    "class only in test": (
        {"train": {"cat": 1}, "test": {"cat": 1, "dog": 1}},
        "test/dog is a class that nothing can learn: there is no .*/train/dog",
    ),
    "no training images": ({"test": {"cat": 1}}, "no folder .*/train with a folder of images"),
}


@pytest.mark.parametrize("sizes, message", WRONG.values(), ids=WRONG)
def test_a_wrong_folder_is_refused_with_what_is_wrong(tmp_path, sizes, message):
    folder = archives.write_files(tmp_path / "pets", archives.folder_files(sizes))
    with pytest.raises(UserError, match=message):
        load_dataset(config(tmp_path, folder))


def test_a_split_without_images_is_none(tmp_path):
    folder = archives.write_files(tmp_path / "pets", archives.folder_files({"train": {"cat": 1}}))
    (folder / "test" / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match=r"'test' is not a split .* Known: train"):
        load_dataset(config(tmp_path, folder))


def test_an_empty_class_is_refused(tmp_path):
    folder = archives.write_files(tmp_path / "pets", archives.folder_files())
    (folder / "train" / "emu").mkdir()
    with pytest.raises(UserError, match="train/emu has no images"):
        load_dataset(config(tmp_path, folder))


def test_without_a_folder_the_message_says_what_to_give(tmp_path):
    with pytest.raises(UserError, match=r"manual_dir is empty\. Give as manual_dir a folder of"):
        load_dataset(config(tmp_path, ""))
    with pytest.raises(UserError, match="builder_config='x': image_folder has none"):
        load_dataset(config(tmp_path, "", builder_config="x"))
