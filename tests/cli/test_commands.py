"""The mistakes that every command tells alike, seen from outside."""

import functools
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from children import PYTHONPATH

from renyi_jax.cli.help import vocabulary
from renyi_jax.config import FIELDS
from renyi_jax.models.registry import MODELS
from renyi_jax.pruning import CRITERIA, REDUCERS


@pytest.fixture
def greet(run_child):
    """Runs tests/cli/greeting.py, a command as those of the package are."""
    return functools.partial(run_child, "cli.greeting")


def greet_into(stdout, times=1):
    """Runs it with another standard output."""
    return subprocess.run(
        [sys.executable, "-m", "cli.greeting", "--name=you", f"--times={times}"],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
    )


def test_a_command_runs(greet):
    result = greet("--name=you", "--times=2")
    assert (result.status, result.stdout) == (0, "hello youhello you\n")


def test_help_lists_the_flags_and_succeeds(greet):
    result = greet("--help")
    assert result.status == 0
    assert "Says hello." in result.stdout
    assert "Whom to greet." in result.stdout


def test_the_version_needs_no_other_flag(greet):
    result = greet("--version")
    assert result.status == 0
    assert re.fullmatch(r"renyi_jax [\d.]+, JAX [\d.]+, Python [\d.]+\n", result.stdout)


def test_the_platform_is_what_jax_runs_on(greet):
    assert greet("--name=you", "--times=0", "--platform=cpu").status == 0
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
def test_a_mistake_is_one_message_and_status_2(greet, arguments, message):
    result = greet(*arguments)
    assert result.status == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not result.stdout


def test_what_nobody_foresaw_is_one_sentence_and_a_report(greet, tmp_path):
    result = greet("--name=you", "--times=14", env={"HOME": str(tmp_path)})
    assert result.status == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("An unexpected error, RuntimeError: a defect. The full report is in ")
    report = Path(line.split()[-1])
    assert report.is_relative_to(tmp_path)
    text = report.read_text()
    assert "Traceback (most recent call last)" in text and "in two lines" in text
    assert "--times=14" in text and f"jax {jax.__version__}" in text


@pytest.mark.parametrize("home", ["/dev/null", "/proc/absent"])
def test_the_report_finds_a_place_where_the_home_cannot_be_written(greet, home, tmp_path):
    result = greet("--name=you", "--times=14", env={"HOME": home, "TMPDIR": str(tmp_path)})
    assert result.status == 1
    assert Path(result.stderr.split()[-1]).parent == tmp_path


@pytest.mark.parametrize(
    ("times", "status", "message"),
    [(15, 130, "Interrupted."), (16, 1, "not enough memory"), (17, 1, "not enough memory")],
)
def test_an_interruption_and_a_lack_of_memory_have_their_own_words(
    greet, tmp_path, times, status, message
):
    result = greet("--name=you", f"--times={times}", env={"HOME": str(tmp_path)})
    assert result.status == status
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_reader_that_has_gone_ends_the_command_quietly():
    read, write = os.pipe()
    os.close(read)
    for times in (2, 100_000):
        result = greet_into(write, times)
        assert (result.returncode, result.stderr) == (141, "")
    os.close(write)


def test_a_full_disk_under_standard_output_is_told():
    with open("/dev/full", "w") as full:
        result = greet_into(full)
    assert result.returncode == 2
    assert result.stderr == "Standard output cannot be written: No space left on device.\n"


def test_a_terminal_that_is_ascii_gets_what_it_can_show(greet):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for environment in (ascii_only, {"PYTHONIOENCODING": "ascii"}):
        result = greet("--name=Zoë", env=environment)
        assert (result.status, result.stderr) == (0, "")
        assert result.stdout.startswith("hello Zo")
        result = greet("--name=you", "--tïmes=1", env=environment)
        assert result.status == 2 and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("main", ("config", "workdir")),
        ("prepare", ("config",)),
        ("convert", ("weights", "out")),
        ("evaluate", ("config", "weights", "out")),
        ("visualize", ("model", "weights", "image", "out")),
        ("predict", ("model", "weights", "image")),
        ("export", ("model", "weights", "format")),
        ("demo", ("weights", "keep_rates", "runtime", "port")),
        ("benchmark", ("model", "keep_rates", "out")),
        ("compile", ("config", "topology")),
    ],
)
def test_the_help_of_each_command_lists_what_it_needs(run_child, command, needed):
    result = run_child(command, "--help")
    assert result.status == 0
    for flag in needed:
        assert re.search(rf"^ +--(\[no\])?{flag}: ", result.stdout, re.MULTILINE), flag
