import itertools
import json

import archives
import numpy as np
import pytest
from PIL import Image

from renyi_jax.data import overview
from renyi_jax.errors import UserError

CONFIG = """
from renyi_jax.config import default_config

def get_config():
    config = default_config()
    config.model.name = "vit_nano_patch4_56"
    config.data.name = "image_folder"
    config.data.batch_size = 4
    config.data.random_resized_crop = True
    config.data.rand_augment = 9.0
    config.data.mixup = 0.8
    return config
"""


def test_the_command_counts_shows_and_times_a_data_set(run_child, tmp_path):
    sizes = {"train": {"cat": 7, "dog": 6}, "test": {"cat": 2, "dog": 3}}
    archives.write_files(tmp_path / "pets", archives.folder_files(sizes))
    (tmp_path / "tiny.py").write_text(CONFIG)
    result = run_child(
        *("prepare", "--config=tiny.py", "--check", "--out=out", "--batches=2", "--steps=1"),
        *("--config.data.data_dir=prepared", "--config.data.manual_dir=pets"),
        cwd=tmp_path,
    )
    assert result.status == 0, result.stderr
    assert "train: 13 examples; from 6 of 'dog' to 7 of 'cat'" in result.stdout
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["splits"]["test"] == {"examples": 5, "class_counts": [2, 3]}
    assert results["images_per_second_per_worker"] > 0 and 0 <= results["waiting_share"] <= 1
    with Image.open(tmp_path / "out" / "batches.png") as sheet:
        assert sheet.size == (8 * 58 + 2, 58 + 2)


def test_a_contact_sheet_shows_every_image_in_its_place():
    images = np.arange(10, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 4, 6, 3), np.uint8)
    sheet = overview.contact_sheet(images, columns=4)
    assert sheet.shape == (3 * 6 + 2, 4 * 8 + 2, 3)
    for index in range(10):
        y, x = divmod(index, 4)
        assert (sheet[2 + 6 * y : 6 + 6 * y, 2 + 8 * x : 8 + 8 * x] == index).all()
    assert (sheet[:, :2] == 255).all() and (sheet[14:, 20:] == 255).all()


def fake_time(monkeypatch):
    """A clock that only the work done moves."""
    clock = [0.0]
    monkeypatch.setattr(overview.time, "perf_counter", lambda: clock[0])

    def work(seconds):
        clock[0] += seconds

    def batches():
        for _ in itertools.count():
            work(1.0)
            yield {"label": np.zeros(8)}

    return work, batches()


def test_the_speed_is_that_of_the_batches_after_the_first(monkeypatch):
    _, batches = fake_time(monkeypatch)
    assert overview.images_per_second(batches, 5) == 8
    with pytest.raises(UserError, match="too few batches"):
        overview.images_per_second(itertools.islice(batches, 1), 5)


def test_the_share_of_waiting_is_that_of_the_steps_after_the_first(monkeypatch):
    work, batches = fake_time(monkeypatch)
    assert overview.waiting_share(batches, lambda batch: work(3.0), 4) == 0.25


def test_classes_without_examples_are_told(dataset):
    splits = {"test": {"examples": 5, "class_counts": [5] + [0] * 9}}
    told = overview.summarize(dataset, splits)
    assert "test: 5 examples; from 0 of 'Trouser' to 5 of 'T-shirt/top'" in told
    assert "without examples: Trouser, Pullover, Dress, Coat, Sandal and 4 more" in told
