"""Devices that this machine does not have."""

import os

import pytest

PREDICT = ("--weights=embedded:vit_nano_patch4_56", "--image=a.png")


@pytest.mark.parametrize("where", ["flag", "environment"])
def test_a_device_that_is_not_there_is_refused(refuses, tmp_path, where):
    if os.environ.get("JAX_PLATFORMS") != "cpu":
        pytest.skip("the machine may have one")
    (tmp_path / "a.png").write_bytes(b"")
    if where == "flag":
        refuses("predict", *PREDICT, "--platform=tpu", words=["'tpu'", "--platform"])
    else:
        environment = {"JAX_PLATFORMS": "none", "PYTHONUTF8": "1"}  # read as JAX is imported
        words = ["'none'", "JAX_PLATFORMS"]
        refuses("predict", *PREDICT, env=environment, words=words)


def test_a_platform_with_another_name_is_refused(refuses):
    refuses("predict", *PREDICT, "--platform=cuda", words=["cuda", "cpu|gpu|tpu"])
