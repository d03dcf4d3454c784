import hashlib
import json
import sys

import archives
import ml_collections
import numpy as np
import pytest
from absl import logging

from renyi_jax.data import imagenet100
from renyi_jax.data.datasets import load_dataset
from renyi_jax.errors import UserError


def config(data_dir, manual_dir=""):
    return ml_collections.ConfigDict(
        {
            "name": "imagenet100",
            "builder_config": "",
            "data_dir": str(data_dir),
            "manual_dir": str(manual_dir),
            "train_split": "train",
            "test_split": "validation",
        }
    )


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    return archives.prepare_imagenet(tmp_path_factory.mktemp("imagenet"))


def test_the_list_names_a_hundred_classes_of_imagenet(imagenet):
    synsets = imagenet100.synset_ids()
    assert len(synsets) == len(set(synsets)) == 100
    assert set(synsets) <= set(imagenet.info.features["label"].names)
    # Of the list that was published (HobbitLong/CMC, imagenet100.txt).
    published = "79f3f1552ccc478ce24bd934b4573625db584ddc1f4643ae23c994a94cb11397"
    assert hashlib.sha256("".join(f"{s}\n" for s in synsets).encode()).hexdigest() == published


@pytest.mark.parametrize("where", ["data_dir", "manual_dir"])
def test_the_hundred_classes_are_taken_from_the_prepared_imagenet(imagenet, tmp_path, where):
    root = imagenet._data_dir_root
    at = {"data_dir": (root,), "manual_dir": (tmp_path, root)}[where]
    dataset = load_dataset(config(*at))
    present = [s for s in imagenet.info.features["label"].names[::20] if s in dataset.class_names]
    assert list(dataset.class_names) == imagenet100.synset_ids()
    assert (len(dataset.train), len(dataset.test)) == (3 * len(present), len(present))
    names = sorted(dataset.class_names[label] for label in dataset.test.labels())
    assert names == sorted(present)
    source = imagenet.as_data_source("validation")
    images = {image.tobytes() for image in (record["image"] for record in source)}
    assert all(dataset.test[i]["image"].tobytes() in images for i in range(len(dataset.test)))
    assert "tensorflow" not in sys.modules


def test_other_sizes_than_the_published_ones_are_a_warning(imagenet, tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: warnings.append(text % args))
    load_dataset(config(tmp_path, imagenet._data_dir_root))
    assert any("of the split validation; 5000 were published" in text for text in warnings)


def test_without_a_prepared_imagenet_one_message_says_how_to_get_it(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as error:
        load_dataset(config(tmp_path, tmp_path / "empty"))
    assert "There is no prepared imagenet2012 in" in str(error.value)
    assert "tfds build imagenet2012 --file_format=array_record" in str(error.value)


def test_tfrecord_files_are_told_the_command_that_converts_them(tmp_path):
    builder = archives.prepare_imagenet(tmp_path)
    info = builder.data_path / "dataset_info.json"
    fields = json.loads(info.read_text())
    info.write_text(json.dumps(fields | {"fileFormat": "tfrecord"}))
    with pytest.raises(UserError) as error:
        load_dataset(config(tmp_path))
    command = f"tfds convert_format --dataset_version_dir={builder.data_path} --out_file_format="
    assert "tfrecord" in str(error.value) and command + "array_record" in str(error.value)

    # What the command leaves: both formats side by side.
    both = fields | {"fileFormat": "tfrecord", "alternativeFileFormats": ["array_record"]}
    info.write_text(json.dumps(both))
    assert np.isin(load_dataset(config(tmp_path)).test.labels(), np.arange(100)).all()
