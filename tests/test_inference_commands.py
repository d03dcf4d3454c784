"""`predict`, `visualize` and `export` as a user runs them."""

import html
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from renyi_jax.images import short_name
from renyi_jax.inference.onnx_file import PACKAGES
from renyi_jax.pruning import PruningConfig

NAME = "vit_nano_patch4_56"
MODEL = (f"--model={NAME}", f"--weights=embedded:{NAME}")
GARMENTS = (
    *("T-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "boot"),
)
PLAN = PruningConfig(
    blocks=(2, 5, 9), criterion=("renyi", "cls_attention", "renyi"), keep_rate=(0.9, 0.6, 0.5)
)
"""As renyi_jax.plan writes one; leaves 54 of 196 patches."""
OF_IMAGE = ("entropy", "kept")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four pictures and two files that are none."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels).convert("CMYK").save(folder / "b.jpg")
    Image.new("RGB", (1, 1)).save(folder / "c.gif")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "d.png")
    (folder / "empty.png").touch()
    (folder / "words.jpg").write_text("no picture")
    (folder / "names.txt").write_text("\n".join(GARMENTS))
    PLAN.save(folder / "plan.json")
    return folder


def test_pictures_are_named_and_the_others_told_at_the_end(run_child, folder, tmp_path):
    out = tmp_path / "out"
    done = run_child(
        *("predict", *MODEL, f"--class_names={folder / 'names.txt'}", "--batch_size=3", "--top=2"),
        *(f"--plan={folder / 'plan.json'}", "--save-kept", f"--out={out}"),
        *("--image", folder, folder / "absent.png"),
    )
    assert done.status == 2
    assert "Traceback" not in done.stderr
    assert "3 of 7 images could not be read" in done.stderr
    assert all(name in done.stderr for name in ("absent.png", "empty.png", "words.jpg"))
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        str(folder / name) for name in ("a.png", "b.jpg", "c.gif", "d.png")
    ]
    assert all(sum(garment in line for garment in GARMENTS) >= 2 for line in lines)
    results = json.loads((out / "results.json").read_text())
    assert len(results["refused"]) == 3
    for row in results["images"]:
        assert row["patches_kept"] == 54
        assert 0 < row["probabilities"][1] <= row["probabilities"][0] <= 1
        assert Image.open(out / row["kept"]).size == (448, 448)


def test_a_mistake_is_told_before_any_picture(run_child, folder):
    done = run_child("predict", *MODEL, "--save_kept", f"--image={folder / 'a.png'}")
    assert done.status == 2 and "--save_kept needs --out" in done.stderr
    assert "Traceback" not in done.stderr and not done.stdout


@pytest.mark.slow
def test_every_figure_is_drawn(run_child, folder, tmp_path):
    row = {"criterion": "none", "reducer": None, "alpha": None, "keep_rate": 1.0, "top1": 0.8}
    row |= {"gmacs": 0.2, "images_per_second": 10.0}
    pruned = row | {"criterion": "renyi", "reducer": "drop", "alpha": 2.0, "keep_rate": 0.7}
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"evaluations": [pruned | {"gmacs": 0.1}, row]}))
    out, odd = tmp_path / "out", tmp_path / os.fsdecode(b"caf\xe9\n" + b"x" * 240 + b".png")
    odd.symlink_to(folder / "a.png")
    done = run_child(
        *("visualize", *MODEL, "--alphas=1,inf", "--criteria=cls_attention", f"--out={out}"),
        *("--dpi=40", f"--plan={folder / 'plan.json'}", "--keep_rates=0.3", f"--results={results}"),
        *("--image", folder / "a.png", odd, folder / "words.jpg"),
    )
    assert done.status == 2
    assert "1 of 3 images could not be read" in done.stderr
    drawn = (
        *(f"{name}_{what}" for name in ("01_a", f"02_{short_name(odd)}") for what in OF_IMAGE),
        *("entropy_histograms", "entropy_and_distance"),
        *("accuracy_multiply_adds", "accuracy_throughput"),
    )
    files = {f"{name}.{kind}" for name in drawn for kind in ("png", "svg")}
    assert {file.name for file in out.iterdir()} == files | {"index.html", "results.json"}
    page = (out / "index.html").read_text()
    assert r"caf\xe9\nxxx" in page
    command = re.search(r"<code>python -m renyi_jax\.(.+?)</code>", page)
    predicted = run_child(*shlex.split(html.unescape(command[1])))
    assert predicted.status == 0 and predicted.stdout.startswith(f"{folder / 'a.png'}: ")
    means = json.loads((out / "results.json").read_text())
    assert PruningConfig.from_json(means["model"]["pruning"]) == PLAN
    assert np.shape(means["attention_distance_pixels"]) == (12, 4)
    assert [each["alpha"] for each in means["entropy_nats"]] == [1.0, "inf"]
    assert all(np.shape(each["by_block_and_head"]) == (12, 4) for each in means["entropy_nats"])


def test_an_artifact_is_written_with_what_it_takes_beside_it(run_child, folder, tmp_path):
    file = tmp_path / "deep" / "model.jax"
    done = run_child(
        *("export", *MODEL, "--alpha=4", "--platforms=cpu,tpu", f"--out={file}"),
        *(f"--class_names={folder / 'names.txt'}", f"--plan={folder / 'plan.json'}"),
    )
    assert done.status == 0, done.stderr
    assert f"Wrote {file}" in done.stdout
    about = json.loads((tmp_path / "deep" / "model.jax.json").read_text())
    assert about["class_names"] == list(GARMENTS)
    assert about["platforms"] == ["cpu", "tpu"]
    assert PruningConfig.from_json(about["pruning"]) == PLAN.changed(alpha=4.0)
    assert about["mean"] == [0.5, 0.5, 0.5]
    assert {each.name for each in file.parent.iterdir()} == {"model.jax", "model.jax.json"}


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, PACKAGES)), reason="needs jax2onnx and onnxruntime"
)
def test_an_onnx_file_is_written_and_timed_beside_the_model(run_child, tmp_path):
    file = tmp_path / "model.onnx"
    done = run_child(
        "export", *MODEL, "--blocks=2", "--keep_rate=0.3", "--format=onnx", f"--out={file}"
    )
    assert done.status == 0, done.stderr
    about = json.loads((tmp_path / "model.onnx.json").read_text())
    assert about["deviation"] < 1e-5 and f"{about['deviation']:.1e}" in done.stdout
    timed = run_child(
        *("benchmark", f"--model={NAME}", "--keep_rates=1", f"--peers=onnx:{file}", "--budget=0"),
        *("--batch_size=2", f"--out={tmp_path}"),
    )
    assert timed.status == 0, timed.stderr
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["peer"] for row in rows] == [None, "ONNX Runtime"]
    assert rows[1]["keep_rate"] == 0.3 and rows[1]["gmacs"] < rows[0]["gmacs"] / 2
    assert rows[1]["images_per_second"] > 0


def test_predict_starts_without_what_only_training_needs():
    heavy = "{'grain', 'matplotlib', 'orbax', 'tensorflow_datasets'}"
    program = f"import sys, renyi_jax.predict; print(*{heavy} & sys.modules.keys())"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not ran.stdout.strip()
