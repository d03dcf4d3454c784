"""The plan command with arguments that it cannot take; nothing is written."""

import numpy as np
import pytest
from PIL import Image

NANO = ("--model=vit_nano_patch4_56", "--weights=embedded:vit_nano_patch4_56")
REFUSED = {
    "--budget=0": ["--budget=0", "(0, 1]"],
    "--budget=1.01": ["--budget=1.01", "(0, 1]"],
    "--budget=half": ["--budget=half"],
    "--budget=0.01": ["budget=0.01", "a share of the unpruned multiply-adds, from", "one patch"],
    "--gmacs=0.001": ["gmacs=0.001", "10^9 multiply-adds", "one patch"],
    "--gmacs=99": ["gmacs=99", "to 0.176, the unpruned model"],
    "--latency_ms=0": ["--latency_ms=0"],
    "--throughput=-1": ["--throughput=-1"],
    "--criteria=reny": ["Did you mean 'renyi'?"],
    "--reducers=dorp": ["Did you mean 'drop'?"],
    "--alphas=0": ["--alphas=0"],
    "--blocks=99": ["block 99 is beyond the last"],
    "--candidates=0": ["--candidates=0"],
    "--num_images=1": ["--num_images=1"],
    "--image=nowhere": ["nowhere"],
    "--image=broken.png": ["broken.png"],
    "--candidates=20": ["3 images cannot tell 20 candidates apart", "at least 20"],
    "--out=": ["--out"],
    "--out=images/0.png": ["--out"],
    "--weights=nowhere.safetensors": ["No weights at 'nowhere.safetensors'"],
    "--config=nowhere.py": ["nowhere.py"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planned")
    (folder / "images").mkdir()
    for number in range(3):
        pixels = np.full((60, 60, 3), number, np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.mark.parametrize("argument", REFUSED)
def test_a_wrong_argument_is_told_and_nothing_is_written(run_command, folder, argument):
    before = sorted(folder.rglob("*"))
    done = run_command("plan", *NANO, "--image=images", "--out=out", argument, cwd=folder)
    assert done.status == 2, done.stderr
    assert "Traceback" not in done.stderr
    for words in REFUSED[argument]:
        assert words in done.stderr
    assert sorted(folder.rglob("*")) == before


def test_images_or_a_config_are_asked_for(run_command, folder):
    done = run_command("plan", *NANO, "--out=out", cwd=folder)
    assert done.status == 2 and "--image=FOLDER" in done.stderr
