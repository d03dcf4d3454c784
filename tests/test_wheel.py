"""The wheel alone, outside the checkout, with what it asks pip for and no more.

The environment is fresh, and its packages are those of the running one that the wheel requires,
with what these require in turn: linked, so that nothing is downloaded but what builds the wheel.
"""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = "--weights=embedded:vit_nano_patch4_56"

# Modules from elsewhere, and none compiled: what one command compiles, the next shall find.
_NOT_FRESH = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")

pytestmark = pytest.mark.slow


def required(requirements: list[str], extra: str = "") -> set[str]:
    """The names of the distributions that pip would install for these lines."""
    found: set[tuple[str, str]] = set()
    waiting = [(line, extra) for line in requirements]
    while waiting:
        line, extra = waiting.pop()
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for each in {(name, wanted) for wanted in ("", *requirement.extras)} - found:
            found.add(each)
            waiting += [(more, each[1]) for more in importlib.metadata.requires(each[0]) or ()]
    return {name for name, _ in found}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, since building leaves files behind."""
    source = tmp_path_factory.mktemp("source")
    for path in (ROOT / "README.md", ROOT / "LICENSE", ROOT / "pyproject.toml"):
        shutil.copy(path, source)
    for path in ROOT.glob("requirements*.txt"):
        shutil.copy(path, source)
    for name in ("configs", "renyi_jax"):
        shutil.copytree(
            *(ROOT / name, source / name),
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir=dist", "."]
    built = subprocess.run(pip, cwd=source, capture_output=True, text=True, check=False)
    if "No matching distribution found for setuptools" in built.stderr:
        pytest.skip("needs setuptools, and the package index cannot be reached")
    assert built.returncode == 0, built.stderr
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def run(wheel, tmp_path_factory):
    """Runs a program of the fresh environment in a folder of its own, which has photographs."""
    home = tmp_path_factory.mktemp("fresh")
    venv.create(home / "env", with_pip=False)
    python = home / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    scheme = {"base": str(home / "env"), "platbase": str(home / "env")}
    site = Path(sysconfig.get_path("purelib", "venv", scheme))
    (about,) = importlib.metadata.distributions(name="renyi_jax", path=[str(site)])
    for name in required(about.requires or []):
        for file in importlib.metadata.files(name) or ():
            if ".." not in file.parts:
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                (site / file).symlink_to(file.locate())
    (home / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 56, 56, 3), np.uint8)
    for number, each in enumerate(pixels):
        Image.fromarray(each).save(home / "photos" / f"{number}.png")

    def running(program: str, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(python.with_name(program)), *arguments],
            cwd=home,
            env={name: value for name, value in os.environ.items() if name not in _NOT_FRESH},
            capture_output=True,
            text=True,
            check=False,
        )

    return running


def test_it_predicts_plans_on_a_folder_and_exports(run):
    done = run("renyi-jax", "predict", WEIGHTS, "--image=photos/0.png")
    assert done.returncode == 0 and done.stdout.count("%") == 5, done.stderr
    space = ("--candidates=1", "--budget=0.9", "--most_blocks=1", "--reducers=drop")
    done = run("renyi-jax", "plan", WEIGHTS, "--image=photos", *space, "--out=plan")
    assert done.returncode == 0, done.stderr
    assert (
        'Report:  none. matplotlib is not installed: pip install "renyi_jax[plot]"' in done.stdout
    )
    exporting = ("--plan=plan/plan.json", "--platforms=cpu", "--out=model.jax")
    done = run("python", "-m", "renyi_jax.export", WEIGHTS, *exporting)
    assert done.returncode == 0, done.stderr
    assert "Wrote " in done.stdout


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["python", "-m", "renyi_jax.main", "--config=quickstart", "--workdir=run"], "train"),
        (["renyi-jax", "visualize"], "plot"),
        (["renyi-jax", "export", WEIGHTS, "--format=onnx", "--out=model.onnx"], "onnx"),
    ],
)
def test_a_command_says_which_extra_it_lacks(run, command, extra):
    done = run(*command)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f'not installed: pip install "renyi_jax[{extra}]"' in line


def test_the_program_lists_the_commands(run):
    listed = run("renyi-jax", "--help")
    assert listed.returncode == 0
    names = {line.split()[0] for line in listed.stdout.splitlines() if line.startswith("  ")}
    commands = ROOT.glob("renyi_jax/*.py")
    assert names == {path.stem for path in commands if "commands.run(main" in path.read_text()}
