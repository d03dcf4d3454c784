"""The data of the six reference configs, from tiny archives in the true formats."""

import importlib.util
import sys
from pathlib import Path

import archives
import numpy as np
import pytest

from renyi_jax.config import check_config
from renyi_jax.data import eval_loader, load_dataset, train_loader

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    """A folder for each data set, as its user would bring it."""
    folder = tmp_path_factory.mktemp("brought")
    for name in ("aircraft", "flowers102", "imagenet100"):
        (folder / name).mkdir()
    archives.write_tar(
        folder / "aircraft" / "fgvc-aircraft-2013b.tar.gz", archives.aircraft_files()
    )
    archives.write_flowers(folder / "flowers102", archives.flowers_files())
    archives.prepare_imagenet(folder / "imagenet100")
    return folder


def read_config(monkeypatch, name):
    monkeypatch.setattr(sys, "path", [str(CONFIGS), *sys.path])
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


@pytest.mark.parametrize(
    "data, classes", [("aircraft", 100), ("flowers102", 102), ("imagenet100", 100)]
)
@pytest.mark.parametrize("model", ["s", "b"])
def test_each_reference_config_trains_and_tests_on_its_data(
    brought, tmp_path, monkeypatch, model, data, classes
):
    config = read_config(monkeypatch, f"deit_{model}_{data}")
    config.data.update({"data_dir": str(tmp_path), "manual_dir": str(brought / data)})
    config = check_config(config)
    dataset = load_dataset(config.data)
    assert dataset.num_classes == classes
    train = train_loader(dataset, config.data, batch_size=4, image_size=224, seed=config.seed)
    test = eval_loader(dataset, batch_size=4, image_size=224, crop_pct=0.9)
    for batch in (next(train), next(test)):
        assert batch["image"].shape == (4, 224, 224, 3) and batch["image"].dtype == np.uint8
        assert (batch["label"] < classes).all()
