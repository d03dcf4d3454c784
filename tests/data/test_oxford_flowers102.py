import io
import sys

import archives
import ml_collections
import numpy as np
import pytest
import scipy.io
from PIL import Image

from renyi_jax.data import oxford_flowers102
from renyi_jax.data.datasets import load_dataset
from renyi_jax.data.oxford_flowers102 import OxfordFlowers102
from renyi_jax.errors import UserError


def config(data_dir, manual_dir):
    return ml_collections.ConfigDict(
        {
            "name": "oxford_flowers102",
            "builder_config": "",
            "data_dir": str(data_dir),
            "manual_dir": str(manual_dir),
            "train_split": "train+validation",
            "test_split": "test",
        }
    )


def test_train_and_validation_together_are_trained_on(tmp_path):
    files = archives.flowers_files()
    dataset = load_dataset(config(tmp_path, archives.write_flowers(tmp_path / "brought", files)))
    assert (len(dataset.train), len(dataset.test), dataset.num_classes) == (8, 6, 102)
    labels = scipy.io.loadmat(io.BytesIO(files["imagelabels.mat"]))["labels"][0] - 1
    splits = scipy.io.loadmat(io.BytesIO(files["setid.mat"]))
    trained_on = np.concatenate([splits["trnid"][0], splits["valid"][0]])
    assert sorted(dataset.train.labels()) == sorted(labels[trained_on - 1])
    published = {
        np.asarray(Image.open(io.BytesIO(files[f"jpg/image_{n:05d}.jpg"]))).tobytes(): labels[n - 1]
        for n in splits["tstid"][0]
    }
    read = {dataset.test[i]["image"].tobytes(): dataset.test[i]["label"] for i in range(6)}
    assert read == published
    assert "tensorflow" not in sys.modules


def test_name_version_features_and_checksums_are_those_of_tfds():
    sizes = oxford_flowers102.SPLIT_SIZES
    assert sizes["train"] + sizes["validation"] == 2040 and sizes["test"] == 6149
    builder = OxfordFlowers102(data_dir="/nowhere")
    assert builder.info.full_name == "oxford_flowers102/2.1.1"
    assert builder.info.features["label"].names[0] == "pink primrose"
    assert len(builder.url_infos) == 3
    assert "Nilsback08" in builder.info.citation


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("setid.mat", b"hello", "setid.mat is not a Matlab file with the variable 'trnid'"),
        ("setid.mat", archives.mat(trnid=np.array([1, 1])), "variable 'valid'"),
        ("imagelabels.mat", archives.mat(labels=np.array([3])), "has 1 labels, and none of"),
        (
            "setid.mat",
            archives.mat(trnid=np.array([1, 1]), valid=np.array([2]), tstid=np.array([3])),
            "lists an image twice",
        ),
        (
            "setid.mat",
            archives.mat(trnid=np.array([1]), valid=np.array([], int), tstid=np.array([3])),
            "lists no image of the split validation",
        ),
        (
            "setid.mat",
            archives.mat(trnid=np.array([99]), valid=np.array([2]), tstid=np.array([3])),
            "102flowers.tgz has no image_00099.jpg",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(tmp_path, name, content, message):
    files = archives.flowers_files() | {name: content}
    with pytest.raises(UserError, match=message):
        load_dataset(config(tmp_path, archives.write_flowers(tmp_path / "brought", files)))
