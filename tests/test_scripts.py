"""The scripts of benchmarks/ and tools/, in an environment that has what requirements.txt lists."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("benchmarks", "tools")
    for path in (ROOT / folder).glob("*.py")
    if "__main__" in path.read_text()  # and no hook of another program
)

OPTIONAL = ("pytest", "torch", "timm", "torchvision", "libtpu", "hypothesis")
WITHOUT_OPTIONAL = f"""
import runpy, sys

class Missing:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in {OPTIONAL}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing)
sys.argv = sys.argv[1:]
sys.path[0] = "."
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_OPTIONAL, script, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_needs_nothing_that_is_optional(script):
    finished = run(script, "--help")
    assert finished.returncode == 0, finished.stderr
    assert "--" in finished.stdout and not finished.stderr


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("tools/compare_with_originals.py", ["--evit=evit"], "requirements-parity.txt"),
        ("tools/compare_with_originals.py", [], "--evit"),
        ("benchmarks/tpu_attention_memory.py", [], "renyi_jax[tpu]"),
        ("benchmarks/tpu_attention_memory.py", ["--topology=v9:2x2"], "v9:2x2"),
        ("benchmarks/tpu_columns.py", [], "renyi_jax[tpu]"),
        ("benchmarks/tpu_gather.py", [], "renyi_jax[tpu]"),
        ("benchmarks/tpu_scanned_blocks.py", [], "renyi_jax[tpu]"),
    ],
)
def test_what_is_missing_is_said_in_one_message(script, arguments, message):
    finished = run(script, *arguments)
    assert finished.returncode == 2, finished.stderr
    assert message in finished.stderr and "Traceback" not in finished.stderr


def test_a_loader_without_its_rival_is_told_what_to_install(tmp_path):
    finished = run("benchmarks/loader_speed.py", f"--out={tmp_path}", "--num_images=64")
    assert finished.returncode == 2, finished.stderr
    assert "requirements-parity.txt" in finished.stderr and "Traceback" not in finished.stderr
