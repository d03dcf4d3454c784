"""Fine-tuning on one's own folder of images, as its config says, with a tiny model."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_model, tiny_spec

from renyi_jax.models import save_weights

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CONFIG = f"""
import sys

from renyi_jax.models import MODELS, ModelSpec

sys.path.append({str(CONFIGS)!r})
MODELS["tiny"] = ModelSpec(
    embed_dim=16, depth=2, num_heads=2, patch_size=4, image_size=(16, 16), num_classes=10
)

import finetune_folder


def get_config():
    return finetune_folder.get_config()
"""


def write_photos(folder, per_class):
    """Noise in red and in blue."""
    rng = np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = rng.integers(0, 60, (20, 24, 3), np.uint8)
            pixels[..., channel] += 190
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def test_a_dozen_images_without_a_split_are_probed_fine_tuned_and_stopped_early(
    run_child, tmp_path
):
    config = tmp_path / "config.py"
    config.write_text(CONFIG)
    write_photos(tmp_path / "photos", per_class=6)
    save_weights(tiny_model(spec=tiny_spec(depth=2)), tmp_path / "tiny.safetensors")
    done = run_child(
        "main",
        f"--config={config}",
        f"--config.data.manual_dir={tmp_path / 'photos'}",
        "--config.model.name=tiny",
        f"--config.model.weights={tmp_path / 'tiny.safetensors'}",
        "--config.pruning.blocks=(1,2)",
        f"--workdir={tmp_path / 'run'}",
    )
    assert done.status == 0, done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    train = results["config"]["train"]
    assert (train["learning_rate"], train["warmup_epochs"]) == (5e-5, 3)
    rows = results["evaluations"]
    assert {row["keep_rate"] for row in rows} == {1.0, 0.7, 0.5}
    assert rows[0]["num_examples"] == 2 and rows[0]["top1"] == 1
    # A batch of all ten training images; the probe is right already, and then patience is five.
    assert "The 10 training images do not fill a batch of config.data.batch_size=16" in done.stderr
    assert "Linear probe: 100.0 % of 10 training images." in done.stderr
    assert "Stopping early after epoch 5: none since epoch 0 was better" in done.stderr
    log = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "test_accuracy" in line] == [*range(6)]
