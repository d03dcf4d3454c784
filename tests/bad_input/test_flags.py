"""Flags and fields with values that they do not take: told before any work."""

import numpy as np
import pytest
from PIL import Image

from bad_input.inputs import LINES, READS_CONFIG, READS_IMAGES

MANY_DIGITS = "9" * 5000

REFUSED = {
    "convert": {
        "--model=": "Unknown model ''",
        "--model=vit_nono_patch4_56": "Did you mean 'vit_nano_patch4_56'?",
        "--weights=": "weights",
        "--num_classes=": "an empty value; expected an integer",
        "--num_classes=-1": "expected an integer of at least 0",
        "--num_classes=1000000000": "at most 1,048,576",
        "--num_classes=1_0": "expected an integer",
        "--image_size=0,0": "expected a side or (height, width)",
        "--image_size=4,400000": "at most 65,536",
        "--image_size=57": "is not tiled",
        "--dtype=": "dtype",
        "--out=weights.pth": "ends in .safetensors",
    },
    "export": {
        "--platforms=": "an empty value",
        "--platforms=vax": "expected a tuple",
        "--platforms=cpu,tpv": "Did you mean 'tpu'?",
        "--input=": "input",
        "--format=onxn": "onnx",
        "--keep_rates=1": "expected a tuple",
        "--alpha=": "an empty value",
        "--alpha=nan": "expected a number in (0, inf]",
    },
    "predict": {
        "--top=": "an empty value",
        "--top=0": "expected an integer of at least 1",
        "--batch_size=0": "expected an integer of at least 1",
        "--image_size=1,2,3": "expected a side or (height, width)",
        "--image_size=60000": "GiB",
        "--alpha=1,2": "2 values for 3",
        "--keep_rate=": "an empty value",
        "--keep_rate=1.5": "expected a number in (0, 1]",
        "--blocks=": "an empty value",
        "--blocks=0": "expected a tuple",
        "--blocks=100": "beyond the last",
        "--criterion=reny": "Did you mean 'renyi'?",
        "--reducer=": "an empty value",
        "--r=1.5": "expected an integer",
        "--weights=": "--weights",
        "--platform=": "platform",
    },
    "visualize": {
        "--alphas=": "an empty value",
        "--alphas=0": "each is a number in (0, inf]",
        "--alphas=" + ",".join(["2"] * 2000): "at most 1000 values",
        "--criteria=": "an empty value",
        "--criteria=reny": "Did you mean 'renyi'?",
        "--dpi=1000000": "at most 1,200",
        "--results=": "--results",
    },
    "prepare": {
        "--batches=0": "batches",
        "--steps=-1": "steps",
    },
    "main": {
        "--config.model.num_classes=1000000000": "at most 1,048,576",
        "--config.data.batch_size=": "expected an integer",
        "--config.data.num_workers=100000": "at most 1,024",
        "--config.seed=-1": "config.seed=-1",
        f"--config.seed={MANY_DIGITS}": "seed",
        "--config.seed=" + "(" * 5000: "seed",
        "--config.seed=" + "-" * 100_000 + "1": "nested too deeply",
        "--config.pruning.blocks=": "blocks",
        "--config.pruning=3": "pruning",
        "--config.seed.x=3": "config.seed has no fields",
        "--config.sead=3": "Did you mean 'seed'?",
        "--config.evaluate.alphas=" + "2," * 2000: "at most 1000 values",
        "--stopped_status=²": "stopped_status",
    },
}


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / "a.png")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "flag"),
    [(command, flag) for command, flags in REFUSED.items() for flag in flags],
    ids=lambda text: text[:32],
)
def test_a_value_that_cannot_be_is_refused_before_any_work(refuses, photo, command, flag):
    done = refuses(command, *LINES[command], flag, words=REFUSED[command][flag])
    assert len(done.stderr) < 2000 and not done.stdout
    assert done.peak_bytes < 2 << 30
    assert [path.name for path in photo.iterdir()] == ["a.png"]


@pytest.mark.parametrize("command", LINES)
def test_an_unknown_flag_is_refused_with_the_nearest(refuses, command):
    close = "confgi" if command in READS_CONFIG else "ouut"
    refuses(command, f"--{close}=x", words=f"There is no flag --{close}. Did you mean")


@pytest.mark.parametrize("command", sorted(set(LINES) - set(READS_IMAGES)))
def test_an_argument_that_is_no_flag_is_refused(refuses, command):
    refuses(command, *LINES[command], "more", words="Unexpected argument 'more'")


@pytest.mark.parametrize("command", READS_IMAGES)
def test_a_name_that_is_no_ascii_is_told_on_a_terminal_that_is(refuses, command):
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    refuses(command, *LINES[command], "--image=Zoë.png", words=("Zo", ".png"), env=ascii_only)
