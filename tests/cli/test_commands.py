"""The mistakes that every command tells alike, seen from outside."""

import itertools
import re
import subprocess
import sys

import pytest

from renyi_jax.cli.help import vocabulary
from renyi_jax.config import FIELDS
from renyi_jax.models.registry import MODELS
from renyi_jax.pruning import CRITERIA, REDUCERS

COMMAND = """'Says hello.'
from absl import flags
from renyi_jax.cli import commands
from renyi_jax.errors import UserError
_NAME = flags.DEFINE_string("name", None, "Whom to greet.", required=True)
_TIMES = flags.DEFINE_integer("times", 1, "How often.", lower_bound=0)
def main():
    if _TIMES.value == 13:
        raise UserError("Thirteen brings bad luck.")
    if _TIMES.value == 14:
        raise RuntimeError("a defect")
    print(f"hello {_NAME.value}" * _TIMES.value)
commands.run(main)
"""


def greet(*arguments):
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True, check=False
    )


def test_a_command_runs():
    result = greet("--name=you", "--times=2")
    assert (result.returncode, result.stdout) == (0, "hello youhello you\n")


def test_help_lists_the_flags_and_succeeds():
    result = greet("--help")
    assert result.returncode == 0
    assert "Says hello." in result.stdout
    assert "Whom to greet." in result.stdout


def test_the_version_needs_no_other_flag():
    result = greet("--version")
    assert result.returncode == 0
    assert re.fullmatch(r"renyi_jax [\d.]+, JAX [\d.]+, Python [\d.]+\n", result.stdout)


def test_the_platform_is_what_jax_runs_on():
    assert greet("--name=you", "--times=0", "--platform=cpu").returncode == 0
    assert "<cpu|gpu|tpu>" in greet("--help").stdout


def spelled_out(family):
    """The names that `a_{b,c}_d` stands for."""
    head, sizes, tail = re.fullmatch(r"([^{]*)(?:\{(.*)\})?(.*)", family).groups()
    return [head + size + tail for size in (sizes or "").split(",")]


def test_help_lists_the_names_that_the_flags_take_from_their_tables():
    words = {flag: vocabulary([flag]) for flag in ("model", "criteria", "config")}
    assert MODELS.keys() == set(itertools.chain(*map(spelled_out, words["model"].split()[1:])))
    assert all(name in words["criteria"] for name in (*CRITERIA, *REDUCERS))
    for group, fields in FIELDS.items():
        for field in fields if isinstance(fields, dict) else ():
            assert f"  {group}.{field}: " in words["config"]
    assert vocabulary(["out"]) == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name=you", "--tims=2"], "There is no flag --tims. Did you mean 'times'?"),
        (["--name=you", "--times=many"], "--times=many"),
        (["--times=1"], "--name"),
        (["--name=you", "again"], "Unexpected argument 'again'"),
        (["--name=you", "--times=13"], "Thirteen brings bad luck."),
    ],
)
def test_a_mistake_is_one_message_and_status_2(arguments, message):
    result = greet(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not result.stdout


def test_a_defect_of_ours_keeps_its_traceback():
    result = greet("--name=you", "--times=14")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("main", ("config", "workdir")),
        ("data", ("config",)),
        ("convert", ("model", "input", "output")),
        ("evaluate", ("config", "checkpoint", "out")),
        ("visualize", ("model", "weights", "image", "out")),
        ("predict", ("model", "weights", "image")),
        ("export", ("model", "weights")),
        ("benchmark", ("model", "keep_rates", "out")),
        ("compile", ("config", "topology")),
    ],
)
def test_the_help_of_each_command_lists_what_it_needs(command, needed):
    result = subprocess.run(
        [sys.executable, "-m", f"renyi_jax.{command}", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0
    for flag in needed:
        assert re.search(rf"^ +--(\[no\])?{flag}: ", result.stdout, re.MULTILINE), flag
