import os

import ml_collections
import numpy as np
import pytest
import requests

from renyi_jax.data import fashion_mnist, fingerprint
from renyi_jax.data.dataset import Records
from renyi_jax.data.datasets import load_dataset
from renyi_jax.errors import UserError


def changed(data_config, **fields):
    config = ml_collections.ConfigDict(data_config.to_dict())
    config.update(fields)
    return config


def test_a_data_set_knows_its_classes_and_shapes(dataset):
    assert dataset.num_classes == len(dataset.class_names) == 10
    assert dataset.class_names[9] == "Ankle boot"
    assert dataset.image_shape == (56, 56, 3)
    assert (len(dataset.train), len(dataset.test)) == (60, 23)


def test_examples_are_decoded_with_masks_where_they_are_tested_on(dataset):
    example = dataset.test[3]
    assert dataset.has_object_masks
    assert example["image"].shape == (56, 56, 3)
    assert (example["image"] == example["image"][..., :1]).all()
    assert example["object_mask"].dtype == bool and example["object_mask"].any()
    assert set(dataset.train[0]) == {"image", "label"}


def test_garments_are_those_of_the_training_split(data_config, idx_folder):
    images, labels = fashion_mnist.read_split(
        *(idx_folder / name for name in fashion_mnist.FILES["train"])
    )
    garments = load_dataset(changed(data_config, train_split="train[:50%]")).garments
    np.testing.assert_array_equal(garments.images, images[:30])
    np.testing.assert_array_equal(garments.labels, labels[:30])


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"name": "clutered_fashion_mnist"}, "Did you mean 'cluttered_fashion_mnist'"),
        ({"builder_config": "ful"}, "Did you mean 'full'"),
        ({"train_split": "trian"}, "train_split='trian'.*Did you mean 'train'"),
        ({"test_split": "test[:x]"}, "test_split"),
        ({"manual_dir": "/nowhere"}, "manual_dir=/nowhere is not a folder"),
    ],
)
def test_a_wrong_field_is_named_with_the_nearest_right_value(data_config, dataset, fields, message):
    with pytest.raises(UserError, match=message):
        load_dataset(changed(data_config, **fields))


def test_a_cut_file_is_refused_and_leaves_nothing_prepared(data_config, idx_folder, tmp_path):
    for names in fashion_mnist.FILES.values():
        for name in names:
            (tmp_path / name).write_bytes((idx_folder / name).read_bytes())
    cut = tmp_path / fashion_mnist.FILES["test"][0]
    cut.write_bytes(cut.read_bytes()[:-100])
    config = changed(data_config, manual_dir=str(tmp_path), data_dir=str(tmp_path / "prepared"))
    with pytest.raises(UserError, match=cut.name):
        load_dataset(config)
    left = [name for _, _, names in os.walk(tmp_path / "prepared") for name in names]
    assert not [name for name in left if "array_record" in name]

    cut.write_bytes((idx_folder / cut.name).read_bytes())
    assert len(load_dataset(config).test) == 23


def test_without_files_or_network_one_message_says_what_to_get(data_config, tmp_path, monkeypatch):
    def no_network(url, **_):
        raise requests.ConnectionError("no route to host")

    monkeypatch.setattr(requests, "get", no_network)
    with pytest.raises(
        UserError, match=r"no connection to fashion-mnist.*\n.*t10k-labels.*manual_dir"
    ):
        load_dataset(changed(data_config, manual_dir="", data_dir=str(tmp_path)))


def test_the_fingerprint_is_that_of_contents_labels_and_order(dataset, data_config):
    of_half = fingerprint(load_dataset(changed(data_config, train_split="train[:50%]")).train)
    assert fingerprint(load_dataset(data_config).train) == fingerprint(dataset.train) != of_half
    one, two, other = (
        {"image": image, "label": label} for image, label in ((b"x", 0), (b"y", 1), (b"x", 1))
    )
    lists = [[one, two], [two, one], [one], [other, two], []]
    assert len({fingerprint(Records(records, "test")) for records in lists}) == len(lists)
