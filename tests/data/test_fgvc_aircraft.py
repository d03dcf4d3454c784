import hashlib
import io
import sys

import archives
import ml_collections
import numpy as np
import pytest
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image

from renyi_jax.data import fgvc_aircraft
from renyi_jax.data.datasets import load_dataset
from renyi_jax.data.fgvc_aircraft import FgvcAircraft
from renyi_jax.errors import UserError

DATA = "fgvc-aircraft-2013b/data/"


@pytest.fixture(scope="module")
def files():
    return archives.aircraft_files()


@pytest.fixture(scope="module")
def archive_dir(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    archives.write_tar(folder / "fgvc-aircraft-2013b.tar.gz", files)
    return folder


def config(data_dir, manual_dir, **fields):
    defaults = {
        "name": "fgvc_aircraft",
        "builder_config": "",
        "data_dir": str(data_dir),
        "manual_dir": str(manual_dir),
        "train_split": "trainval",
        "test_split": "test",
    }
    return ml_collections.ConfigDict(defaults | fields)


@pytest.fixture(scope="module")
def prepared(archive_dir, tmp_path_factory):
    data_config = config(tmp_path_factory.mktemp("prepared"), archive_dir)
    load_dataset(data_config)
    return FgvcAircraft(data_dir=data_config.data_dir, file_format="array_record")


def test_the_published_classes_and_split_sizes_are_known():
    counts = {level: len(fgvc_aircraft.class_names(level)) for level in fgvc_aircraft.LEVELS}
    assert counts == {"variant": 100, "family": 70, "manufacturer": 30}
    sizes = fgvc_aircraft.SPLIT_SIZES
    assert sizes == {"train": 3334, "validation": 3333, "test": 3333, "trainval": 6667}
    # Sorted as the published lists are: by bytes.
    for level in fgvc_aircraft.LEVELS:
        names = fgvc_aircraft.class_names(level)
        assert names == sorted(set(names))
    # Of the variants as others spell the published ones too.
    variants = "\n".join(fgvc_aircraft.class_names("variant"))
    assert hashlib.sha256(variants.encode()).hexdigest()[:8] == "e1c9e720"


def test_the_download_has_a_registered_checksum_and_size():
    info = FgvcAircraft.url_infos[fgvc_aircraft._URL]
    assert len(info.checksum) == 64 and info.size == 2753340328


def test_an_archive_builds_and_reads_back_every_annotation(prepared, files):
    sizes = {split: info.num_examples for split, info in prepared.info.splits.items()}
    assert sizes == {"train": 6, "validation": 5, "test": 7, "trainval": 11}
    variants = dict(
        line.split(" ", 1)
        for line in files[DATA + "images_variant_train.txt"].decode().splitlines()
    )
    features = prepared.info.features
    records = list(prepared.as_data_source("train"))
    assert {record["id"].decode() for record in records} == set(variants)
    for record in records:
        name = record["id"].decode()
        assert features["label"].int2str(record["label"]) == variants[name]
        assert features["variant"].int2str(record["variant"]) == variants[name]
        family = features["family"].int2str(record["family"])
        assert (variants[name], family) in [kind[:2] for kind in archives.AIRCRAFT]
    assert "tensorflow" not in sys.modules


def test_decoding_cuts_the_banner_off_and_leaves_every_other_pixel(prepared, files):
    for record in prepared.as_data_source("test"):
        published = np.asarray(
            Image.open(io.BytesIO(files[f"{DATA}images/{record['id'].decode()}.jpg"]))
        )
        np.testing.assert_array_equal(record["image"], published[: -archives.BANNER])


def test_the_data_set_that_the_loaders_take_has_no_banner_either(prepared, archive_dir):
    dataset = load_dataset(config(prepared._data_dir_root, archive_dir))
    assert dataset.num_classes == 100 and dataset.image_shape is None
    for example, record in zip(
        (dataset.test[i] for i in range(7)), prepared.as_data_source("test"), strict=True
    ):
        np.testing.assert_array_equal(example["image"], record["image"])
        assert example["label"] == record["label"]


def test_boxes_are_shares_of_the_image_without_its_banner(prepared):
    for record in prepared.as_data_source("test"):
        height = len(record["image"])
        np.testing.assert_allclose(record["bbox"], [10 / height, 0, 1, 1], rtol=1e-6)


def test_the_features_are_restored_from_the_prepared_folder_alone(prepared):
    builder = tfds.builder_from_directory(prepared.data_dir)
    assert (
        builder.as_data_source("test")[0]["image"].shape[0]
        == (prepared.as_data_source("test")[0]["image"].shape[0])
    )


@pytest.mark.parametrize("level, position", [("family", 1), ("manufacturer", 2)])
def test_the_builder_config_decides_the_label(files, tmp_path, level, position):
    archives.write_files(tmp_path / "brought", files)
    dataset = load_dataset(config(tmp_path, tmp_path / "brought", builder_config=level))
    labels = {dataset.class_names[label] for label in dataset.train.labels()}
    assert labels == {kind[position] for kind in archives.AIRCRAFT}


@pytest.mark.parametrize("folder", ["brought", "brought/fgvc-aircraft-2013b"])
def test_an_extracted_archive_is_found(files, tmp_path, folder):
    archives.write_files(tmp_path / "brought", files)
    assert len(load_dataset(config(tmp_path / "data", tmp_path / folder)).train) == 11


def test_another_archive_than_the_published_one_is_a_warning(archive_dir, tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: warnings.append(text % args))
    load_dataset(config(tmp_path, archive_dir))
    said = "\n".join(warnings)
    assert "is not the published file" in said and "2753340328" in said
    assert "lists 11 images of the split trainval; 6667 were published" in said


def edited(files, name, edit):
    changed = dict(files)
    if edit is None:
        del changed[DATA + name]
    else:
        changed[DATA + name] = edit(changed[DATA + name])
    return changed


def lines(edit):
    return lambda text: "\n".join(edit(text.decode().splitlines())).encode()


WRONG = {
    "missing label": (
        "images_family_train.txt",
        lines(lambda text: text[:-1]),
        "do not label the same images: only one of them has 0037554",
    ),
    "line without label": (
        "images_variant_train.txt",
        lines(lambda text: [*text[:-1], text[-1].split()[0]]),
        "line 6: image 0037554 has no label",
    ),
    "listed twice": (
        "images_variant_test.txt",
        lines(lambda text: [*text, text[0]]),
        "line 8: image 0041448 is listed twice",
    ),
    "unknown class": (
        "images_variant_val.txt",
        lines(lambda text: [*text[:-1], text[-1].split()[0] + " 737-70"]),
        "'737-70', which is no variant. Did you mean '737-700'",
    ),
    "no box": ("images_box.txt", lines(lambda text: text[1:]), "has no box of 0034309"),
    "broken box": (
        "images_box.txt",
        lines(lambda text: [text[0] + " 5", *text[1:]]),
        "expected four integers",
    ),
    "box inside out": (
        "images_box.txt",
        lines(lambda text: [f"{text[0].split()[0]} 9 9 4 4", *text[1:]]),
        "inside out",
    ),
    "no image file": ("images/0034309.jpg", None, "does not have: 0034309"),
    "not an image": ("images/0034309.jpg", lambda _: b"hello", "0034309.jpg in .* is not an image"),
    "no text file": ("images_box.txt", None, "no file images_box.txt"),
}


@pytest.mark.parametrize("name, edit, message", WRONG.values(), ids=WRONG)
def test_a_wrong_archive_is_refused_with_what_is_wrong(files, tmp_path, name, edit, message):
    archives.write_files(tmp_path / "brought", edited(files, name, edit))
    with pytest.raises(UserError, match=message):
        load_dataset(config(tmp_path / "data", tmp_path / "brought"))
    assert not list((tmp_path / "data").rglob("*.array_record*"))


def test_an_image_both_trained_and_tested_on_is_refused(files, tmp_path):
    changed = dict(files)
    for level in fgvc_aircraft.LEVELS:
        line = changed[f"{DATA}images_{level}_train.txt"].splitlines()[0]
        changed[f"{DATA}images_{level}_test.txt"] += b"\n" + line
    archives.write_files(tmp_path / "brought", changed)
    with pytest.raises(UserError, match="both in train and in test: 0034309"):
        load_dataset(config(tmp_path / "data", tmp_path / "brought"))


def test_a_split_without_images_is_refused(files, tmp_path):
    changed = files | {f"{DATA}images_{level}_val.txt": b"" for level in fgvc_aircraft.LEVELS}
    archives.write_files(tmp_path / "brought", changed)
    with pytest.raises(UserError, match="lists no image of the split validation"):
        load_dataset(config(tmp_path / "data", tmp_path / "brought"))


def test_text_that_is_no_unicode_is_told_as_an_unknown_class(files, tmp_path):
    changed = edited(files, "images_variant_val.txt", lambda text: text + b"\xfc")
    archives.write_files(tmp_path / "brought", changed)
    with pytest.raises(UserError, match="which is no variant"):
        load_dataset(config(tmp_path / "data", tmp_path / "brought"))


def test_an_archive_that_was_cut_short_is_refused(archive_dir, tmp_path):
    content = (archive_dir / "fgvc-aircraft-2013b.tar.gz").read_bytes()
    (tmp_path / "fgvc-aircraft-2013b.tar.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="not a whole tar archive"):
        load_dataset(config(tmp_path / "data", tmp_path))


def test_a_truncated_photograph_is_named_when_it_is_read(files, tmp_path):
    cut = edited(files, "images/0041448.jpg", lambda jpeg: jpeg[: len(jpeg) // 2])
    archives.write_files(tmp_path / "brought", cut)
    dataset = load_dataset(config(tmp_path / "data", tmp_path / "brought"))
    with pytest.raises(UserError, match=r"The image '0041448' \(record \d of test\) cannot be"):
        for index in range(7):
            dataset.test[index]
