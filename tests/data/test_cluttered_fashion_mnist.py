import dataclasses
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from renyi_jax.data import fashion_mnist
from renyi_jax.data.cluttered_fashion_mnist import ClutteredFashionMnist


def build(config, data_dir, manual_dir=None):
    builder = ClutteredFashionMnist(config=config, data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    )
    return builder


def assert_holds_the_garments(builder, folder, split):
    images, labels = fashion_mnist.read_split(*(folder / n for n in fashion_mnist.FILES[split]))
    records = list(builder.as_data_source(split))
    assert [record["label"] for record in records] == labels.tolist()
    np.testing.assert_array_equal([record["garment"][..., 0] for record in records], images)
    assert records[1]["id"] == f"{split}-00001".encode()
    for record in records:
        assert record["image"].shape == record["object_mask"].shape == (56, 56, 1)
        assert set(np.unique(record["object_mask"])) == {0, 255}
        mask, garment = record["object_mask"] > 0, record["garment"]
        np.testing.assert_array_equal(record["image"][mask], garment[garment > 0])


def test_the_shipped_garments_build_and_read_back(tmp_path):
    builder = build("embedded", tmp_path)
    assert builder.info.splits["train"].num_examples == 6000
    assert_holds_the_garments(builder, fashion_mnist.embedded_dir(), "test")
    assert "tensorflow" not in sys.modules


def test_embedded_is_the_default(tmp_path):
    assert ClutteredFashionMnist(data_dir=tmp_path).builder_config.name == "embedded"


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_folder_of_published_files_builds_and_reads_back(data_config, dataset, idx_folder, split):
    builder = ClutteredFashionMnist(
        config="full", data_dir=data_config.data_dir, file_format="array_record"
    )
    assert_holds_the_garments(builder, idx_folder, split)


def canvases(builder):
    return np.stack([record["image"] for record in builder.as_data_source("train")])


def test_the_seed_of_the_config_decides_the_canvases(tmp_path, idx_folder):
    full = ClutteredFashionMnist.builder_configs["full"]
    other = dataclasses.replace(full, seed=1, name="full_seed_1")
    first, again = (canvases(build("full", tmp_path / name, idx_folder)) for name in "ab")
    np.testing.assert_array_equal(first, again)
    assert (canvases(build(other, tmp_path, idx_folder)) != first).any(axis=(1, 2, 3)).all()


def test_the_download_has_registered_checksums():
    urls = ClutteredFashionMnist.url_infos
    names = {name for names in fashion_mnist.FILES.values() for name in names}
    assert names <= {url.rsplit("/", 1)[1] for url in urls}
