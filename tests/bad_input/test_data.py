"""Folders of images, splits and prepared data that cannot be read."""

import os
import shutil

import archives
import pytest

CONFIG = f"--config={os.path.join(os.path.dirname(__file__), '../../configs/quickstart.py')}"
OF_FOLDER = (
    "--config.data.name=image_folder",
    "--config.data.builder_config=",
    "--config.data.fresh_clutter=False",
)


@pytest.fixture
def pets(tmp_path):
    return archives.write_files(tmp_path / "pets", archives.folder_files())


@pytest.mark.parametrize(("field", "split"), [("train_split", "tarin"), ("test_split", "test[:0]")])
def test_a_split_that_stands_for_no_image_is_refused(refuses, pets, field, split):
    arguments = (f"--config.data.manual_dir={pets}", f"--config.data.{field}={split}")
    refuses("prepare", CONFIG, *OF_FOLDER, *arguments, words=f"config.data.{field}=")


def without_images(folder):
    for path in folder.rglob("*.jpg"):
        path.unlink()


def heic(folder):
    for path in folder.rglob("*.jpg"):
        path.rename(path.with_suffix(".heic"))


def without_classes(folder):
    for split in ("train", "test"):
        for path in folder.glob(f"{split}/*/*.jpg"):
            path.rename(folder / split / f"{path.parent.name}{path.name}")


def unlearnable(folder):
    (folder / "train" / "dog").rename(folder / "train" / "dogs")


def absent(folder):
    shutil.rmtree(folder)


def a_file(folder):
    shutil.rmtree(folder)
    folder.write_text("no folder")


def a_pipe(folder):
    shutil.rmtree(folder)
    os.mkfifo(folder)


@pytest.mark.parametrize(
    "change, words",
    [
        (without_images, "no images in folders of classes"),
        (heic, (".heic files (14)", "Convert")),
        (without_classes, "no images in folders of classes"),
        (unlearnable, "classes in test that nothing can learn"),
        (absent, "is not a folder"),
        (a_file, "is not a folder"),
        (a_pipe, "is not a folder"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused(refuses, pets, change, words):
    change(pets)
    refuses("prepare", CONFIG, *OF_FOLDER, f"--config.data.manual_dir={pets}", words=words)


def test_a_folder_of_every_trouble_is_counted_once_and_told(run_command, pets):
    (pets / "loop").symlink_to(".")
    (pets / "train" / "cat" / "loop").symlink_to("../..")
    (pets / "train" / "emu").mkdir()
    (pets / "train" / "cat" / "gone.jpg").symlink_to("nowhere.jpg")
    (pets / "train" / "cat" / "x.jpg").mkdir()
    os.mkfifo(pets / "train" / "cat" / "pipe.jpg")
    os.rename(
        pets / "train" / "dog" / "0.jpg",
        os.path.join(os.fsencode(pets), b"train/dog/\xff\n.jpg"),
    )
    shutil.copytree(pets / "test", pets / "all")
    for name in ("._0.jpg", "Thumbs.db", ".DS_Store", "x.heic"):
        (pets / "train" / "dog" / name).write_bytes(b"")
    done = run_command("prepare", CONFIG, *OF_FOLDER, f"--config.data.manual_dir={pets}")
    assert done.status == 0, done.stderr
    assert "train: 9 examples" in done.stdout and "test: 5 examples" in done.stdout
    for words in ("train/emu", ".heic files (1)", "hidden files (3)", "nothing (1)", "devices (1)"):
        assert words in done.stderr


@pytest.mark.parametrize("name", ["train.array_record-00000-of-00001", "dataset_info.json"])
def test_prepared_data_that_are_damaged_are_not_said_to_be_well(refuses, made, name):
    (file,) = made.glob(f"cluttered_fashion_mnist/embedded/1.0.0/*{name}")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    refuses("prepare", CONFIG, f"--config.data.data_dir={made}", words=("damaged", "rm -r"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    from renyi_jax.config import check_config, default_config
    from renyi_jax.data.datasets import load_dataset

    config = default_config()
    config.data.data_dir = str(tmp_path_factory.mktemp("prepared"))
    load_dataset(check_config(config).data)
    return config.data.data_dir


@pytest.fixture
def made(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "prepared")
    return tmp_path / "prepared"


@pytest.mark.parametrize("field", ["data_dir", "manual_dir"])
@pytest.mark.parametrize("path", ["s3://x/y", "{file}/sub", "x" * 5000])
def test_a_path_that_is_no_folder_is_refused(refuses, pets, field, path):
    path = path.format(file=next(pets.glob("train/cat/*.jpg")))
    of = OF_FOLDER if field == "manual_dir" else ()
    refuses("prepare", CONFIG, *of, f"--config.data.{field}={path}", words=f"config.data.{field}")
