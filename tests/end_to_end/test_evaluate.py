"""`python -m renyi_jax.evaluate`, as a user runs it."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_model, tiny_spec

from renyi_jax.data.fashion_mnist import CLASS_NAMES
from renyi_jax.models import save_weights
from renyi_jax.pruning import PruningConfig

pytestmark = pytest.mark.slow

SPEC = tiny_spec(depth=2, patch_size=8, image_size=(56, 56))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Two models of the config, as `{seed}` in a path finds them."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for seed in (0, 1):
        save_weights(tiny_model(None, SPEC, seed), folder / f"seed{seed}.safetensors")
    return folder


@pytest.fixture(scope="module")
def swept(run_child, config_file, checkpoints, tmp_path_factory):
    """The folder of a sweep over two checkpoints."""
    out = tmp_path_factory.mktemp("swept")
    done = run_child(
        "evaluate",
        f"--config={config_file}",
        f"--weights={checkpoints}/seed{{seed}}.safetensors",
        "--seeds=0,1",
        "--keep_rates=0.5",
        "--alphas=1",
        "--criteria=renyi,random",
        "--baseline=random",
        f"--out={out}",
    )
    assert done.status == 0, done.stderr
    return out, done.stdout


def test_a_sweep_leaves_tables_curves_and_the_outcome_of_every_image(swept):
    out, printed = swept
    results = json.loads((out / "results.json").read_text())
    rows = results["evaluations"]
    settings = [(row["criterion"], row["alpha"], row["keep_rate"]) for row in rows]
    assert settings == [
        ("renyi", 2.0, 0.7),
        ("renyi", 1.0, 0.5),
        ("random", None, 0.5),
        ("none", None, 1.0),
    ]
    assert [row["difference"] is None for row in rows] == [True, False, True, True]
    assert rows[3]["agreement"] == 1.0
    assert all(row["peak_memory"] > 0 and row["speedup"] > 0 for row in rows)
    assert not any(row["trained"] for row in rows)  # the weights do not say how they were trained
    for run in results["runs"]:
        *pruned, plain = run["evaluations"]
        for row in pruned:
            expected = plain["images_per_second"] * row["speedup"]
            assert row["images_per_second"] == pytest.approx(expected)
    assert [run["seed"] for run in results["runs"]] == [0, 1]
    assert (out / "results.md").read_text() in printed
    assert len(list(csv.DictReader((out / "results.csv").open()))) == 4
    for name in ("top1_over_gmacs", "top1_over_images_per_second"):
        assert (out / f"{name}.png").stat().st_size and (out / f"{name}.svg").stat().st_size

    cells = {}
    for path in (out / "cells").glob("*.npz"):
        with np.load(path, allow_pickle=False) as cell:
            identity = json.loads(str(cell["identity"]))
            if "timed" in identity:
                continue
            key = identity["setting"]["criterion"], identity["setting"]["keep_rate"]
            cells.setdefault(key, []).append(cell["top1"])
    assert all(len(of_setting) == 2 for of_setting in cells.values()) and len(cells) == 4
    assert {row["num_runs"] for row in rows} == {2}
    for row in rows:
        right = np.stack(cells[row["criterion"], row["keep_rate"]])
        assert right.shape == (2, row["num_examples"]) and row["top1"] == pytest.approx(
            right.mean()
        )


def test_what_is_finished_is_not_run_again(swept, run_child, config_file, checkpoints):
    out, _ = swept
    before = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    more = run_child(
        "evaluate",
        f"--config={config_file}",
        f"--weights={checkpoints}/seed0.safetensors,{checkpoints}/seed1.safetensors",
        "--seeds=0",
        "--keep_rates=0.5",
        "--alphas=1,4",
        "--criteria=renyi",
        f"--out={out}",
    )
    assert more.status == 0, more.stderr
    after = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert before.items() <= after.items()
    assert len(after) - len(before) == 2  # one more order, for each checkpoint


def write_images(folder):
    """Six images of noise in a folder of a class."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(6):
        pixels = rng.integers(0, 256, (56, 56, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def test_a_folder_needs_no_config_and_another_one_gets_numbers_of_its_own(run_child, tmp_path):
    write_images(tmp_path / "bags" / "val" / "Bag")
    write_images(tmp_path / "coats" / "Coat")
    names = tmp_path / "classes.txt"
    names.write_text("\n".join(CLASS_NAMES))
    plan = PruningConfig(blocks=(2, 5), keep_rate=(0.9, 0.4), reducer="fuse", alpha=(0.25, 1.0))
    plan.save(tmp_path / "plan.json")
    rows = {}
    for folder in ("bags", "coats"):
        done = run_child(
            "evaluate",
            f"--data={tmp_path / folder}",
            "--weights=embedded:vit_nano_patch4_56",
            f"--class_names={names}",
            f"--plan={tmp_path / 'plan.json'}",
            f"--out={tmp_path / 'out'}",
            "--config.evaluate.batch_size=4",
        )
        assert done.status == 0, done.stderr
        results = json.loads((tmp_path / "out" / "results.json").read_text())
        assert results["config"]["model"]["name"] == "vit_nano_patch4_56"
        assert plan.to_json().items() <= results["config"]["pruning"].items()
        rows[folder] = results["evaluations"]
    assert [row["num_examples"] for row in rows["bags"]] == [6, 6]
    for bags, coats in zip(rows["bags"], rows["coats"], strict=True):
        assert bags["top1"] + coats["top1"] <= 1 and bags["nll"] != coats["nll"]
