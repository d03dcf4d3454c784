"""The benchmark command with values that it cannot take."""

import pytest

NANO = "--model=vit_nano_patch4_56"

REFUSED = {
    "--model=": ["--model"],
    "--model=deit_smal_patch16_224": ["deit_small_patch16_224"],
    "--keep_rates=": ["--keep_rates"],
    "--keep_rates=0": ["keep_rate", "0"],
    "--alphas=": ["--alphas"],
    "--alphas=-1": ["alpha", "-1"],
    "--criteria=": ["--criteria"],
    "--criteria=reny": ["renyi"],
    "--dtype=": ["--dtype"],
    "--dtype=float16": ["bfloat16"],
    "--image_size=0": ["--image_size", "0"],
    "--image_size=57": ["57"],
    "--image_size=4,400000": ["--image_size=4,400000"],
    "--image_size=56,65536": ["65536 x 65536", "GiB"],
    "--batch_size=0": ["batch_size"],
    "--batch_size=1000000000": ["batch_size", "1000000000"],
    "--batch_size=16777216": ["--batch_size=16777216", "GiB"],
    "--budget=-1": ["budget"],
    "--train=perhaps": ["train"],
    "--peers=tim": ["timm"],
    "--peers=timm:here": ["--peers=timm:here"],
    "--peers=evit": ["evit:PATH"],
    "--peers=tome:no/such/folder": ["no/such/folder"],
    "--peers=evit:/dev/null": ["/dev/null"],
    "--peers=onnx:no/such/file": ["--peers=onnx:no/such/file"],
    "extra": ["extra"],
}


@pytest.mark.parametrize("flag", REFUSED, ids=lambda flag: flag[:32])
def test_a_value_that_cannot_be_is_refused_before_anything_is_timed(refuses, flag):
    done = refuses("benchmark", NANO, flag, words=REFUSED[flag])
    assert done.peak_bytes < 2 << 30


def test_a_python_that_cannot_run_the_peers_is_refused(refuses):
    flags = (NANO, "--peers=timm", "--budget=0", "--batch_size=1", "--keep_rates=1")
    refuses("benchmark", *flags, "--peers_python=/no/python", words="--peers_python=/no/python")
    refuses("benchmark", *flags, "--peers_python=/dev/null", words="--peers_python=/dev/null")
    refuses("benchmark", *flags, "--peers_python=/bin/true", words="requirements-parity.txt")


def test_an_output_that_cannot_be_written_is_refused(refuses, tmp_path):
    (tmp_path / "file").touch()
    refuses("benchmark", NANO, "--out=file", words=["--out=", "file"])
