"""The launch scripts, run for real against stand-ins for Python that install nothing."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("bash", "cat", "chmod", "dirname", "mkdir", "rm", "rmdir", "sleep", "touch")

# Answers `-c` with the real Python, under another version where that is asked for, and only writes
# down the rest.
FAKE_PYTHON = """#!{bash}
case "$1 ${{2:-}}" in
  "-c "*)
    code="$2"
    shift 2
    # What else it runs imports libraries, which would take the version at its word.
    [[ $code == *version_info* || $code == *base_prefix* ]] || exec "{python}" -c "$code" "$@"
    exec "{python}" -c 'import sys
sys.version_info, sys.base_prefix = ({version}), "/fake/{name}"
exec(sys.argv.pop(1))' "$code" "$@" ;;
  "--version "*) echo "Python of {name}" ;;
  "-m venv")
    echo "venv by {name}" >>"$LOG"
    mkdir -p "$3/bin"
    touch "$3/pyvenv.cfg"
    cat "$0" >"$3/bin/python"
    chmod +x "$3/bin/python" ;;
  "-m pip")
    sleep "${{SLOW_PIP:-0}}"
    echo "pip ${{*: -2}}" >>"$LOG"
    exit "${{PIP_STATUS:-0}}" ;;
  *)
    for argument in "$@"; do echo "argument <$argument>" >>"$LOG"; done
    if [[ -n ${{RUN_UNTIL_TOLD:-}} ]]; then
      trap 'echo "told to stop" >>"$LOG"; exit "${{RUN_STATUS:-0}}"' TERM
      echo "waits" >>"$LOG"
      while :; do sleep 0.05; done
    fi
    exit "${{RUN_STATUS:-0}}" ;;
esac
"""


class Checkout:
    """A copy of the scripts in a folder with a space, on a machine with chosen Pythons."""

    def __init__(self, folder: Path):
        self.root = folder / "a check out"
        self.bin = folder / "bin"
        self.elsewhere = folder / "else where"
        self.log = folder / "log"
        self.venv = self.root / ".venv"
        self.elsewhere.mkdir()
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        shutil.copytree(ROOT / "launch", self.root / "launch")
        for path in (ROOT / "pyproject.toml", *ROOT.glob("requirements*.txt")):
            shutil.copy(path, self.root / path.name)

    def add_python(self, name: str, version: str) -> Path:
        program = self.bin / name
        program.write_text(
            FAKE_PYTHON.format(
                bash=shutil.which("bash"), python=sys.executable, version=version, name=name
            )
        )
        program.chmod(0o755)
        return program

    def start(self, script: str, *arguments: str, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            ["bash", str(self.root / "launch" / script), *arguments],
            cwd=self.elsewhere,
            env={"PATH": str(self.bin), "LOG": str(self.log), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, *arguments: str, **environment: str) -> tuple[int, str]:
        """The exit status and what stood on stderr. The log is that of this run alone."""
        self.log.unlink(missing_ok=True)
        process = self.start(script, *arguments, **environment)
        _, stderr = process.communicate()
        return process.returncode, stderr

    def logged(self, start: str) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.removeprefix(start) for line in lines if line.startswith(start)]


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


@pytest.fixture
def machine(checkout):
    checkout.add_python("python3.12", "3, 12, 1")
    return checkout


def test_the_newest_suitable_python_is_chosen(checkout):
    checkout.add_python("python3.11", "3, 11, 7")
    checkout.add_python("python3.12", "3, 12, 1")
    checkout.add_python("python3", "3, 14, 0")
    checkout.add_python("python", "2, 7, 18")
    shim = checkout.bin / "python3.13"
    shim.write_text("#!/bin/sh\necho 'not in this version' >&2\nexit 127\n")
    shim.chmod(0o755)
    assert checkout.run("test.sh")[0] == 0
    assert checkout.logged("venv by ") == ["python3.12"]


def test_a_python_that_pyenv_holds_but_path_does_not_is_found(machine):
    versions = machine.root / "pyenv" / "versions" / "3.13.0" / "bin"
    versions.mkdir(parents=True)
    machine.add_python("hidden", "3, 13, 0").rename(versions / "python3")
    machine.run("test.sh", PYENV_ROOT=str(machine.root / "pyenv"))
    assert machine.logged("venv by ") == ["hidden"]


def test_a_machine_without_a_suitable_python_gets_a_list_of_what_it_has(checkout):
    program = checkout.add_python("python3", "3, 9, 18")
    status, message = checkout.run("local.sh")
    assert status == 2
    assert "3.11 to 3.13" in message
    assert f"{program}: it is Python 3.9.18" in message
    assert not checkout.venv.exists()


@pytest.mark.parametrize(
    ("choice", "reason"),
    [("python9", "no such program"), ("old", "it is Python 3.10.2"), ("broken", "out of order")],
)
def test_a_chosen_python_that_cannot_be_used_ends_with_status_2(machine, choice, reason):
    machine.add_python("old", "3, 10, 2")
    broken = machine.bin / "broken"
    broken.write_text("#!/bin/sh\necho 'out of order' >&2\nexit 1\n")
    broken.chmod(0o755)
    status, message = machine.run("test.sh", PYTHON=choice)
    assert status == 2
    assert f"PYTHON={choice} cannot be used" in message
    assert reason in message
    assert not machine.venv.exists()


def test_a_python_without_ensurepip_is_refused_with_the_package_that_has_it(machine):
    # What Debian's Python looks like before python3-venv is installed.
    program = machine.add_python("python3.11", "3, 11, 2")
    hidden = program.read_text().replace(
        "exec(sys", "sys.modules['ensurepip'] = None\nexec(sys".replace("'", '"')
    )
    program.write_text(hidden)
    status, message = machine.run("test.sh", PYTHON="python3.11")
    assert status == 2
    assert "ensurepip is missing" in message
    assert "python3-venv" in message


def test_a_chosen_python_of_another_version_makes_the_environment_again(machine):
    machine.add_python("python3.11", "3, 11, 7")
    machine.run("test.sh", PYTHON="python3.11")
    assert machine.logged("venv by ") == ["python3.11"]
    machine.run("test.sh")
    assert machine.logged("venv by ") == []
    machine.run("test.sh", PYTHON="python3.12")
    assert machine.logged("venv by ") == ["python3.12"]


def test_a_second_run_installs_nothing(machine):
    machine.run("test.sh")
    assert len(machine.logged("pip ")) == 3
    machine.run("test.sh")
    assert machine.logged("pip ") == []
    machine.run("local.sh")
    assert machine.logged("pip ") == []


def test_the_tests_add_their_requirements_to_an_environment_that_ran_the_job(machine):
    machine.run("local.sh")
    assert len(machine.logged("pip ")) == 2
    machine.run("test.sh")
    assert f"-r {machine.root}/requirements-dev.txt" in machine.logged("pip ")
    assert machine.logged("venv by ") == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "pyproject.toml"])
def test_a_changed_requirement_is_installed_into_the_same_environment(machine, name):
    machine.run("test.sh")
    with (machine.root / name).open("a") as file:
        file.write("# changed\n")
    machine.run("test.sh")
    assert len(machine.logged("pip ")) == 3
    assert machine.logged("venv by ") == []


def test_an_installation_that_broke_off_is_made_again_from_the_start(machine):
    assert machine.run("test.sh", PIP_STATUS="7")[0] == 7
    assert machine.logged("argument ") == []
    assert machine.run("test.sh")[0] == 0
    assert machine.logged("venv by ") == ["python3.12"]
    assert len(machine.logged("pip ")) == 3


def test_a_half_made_environment_is_made_again(machine):
    (machine.venv / "bin").mkdir(parents=True)
    (machine.venv / "bin" / "python").symlink_to("/nowhere/python3")
    assert machine.run("test.sh")[0] == 0
    assert machine.logged("venv by ") == ["python3.12"]


def test_a_moved_repository_is_installed_again(machine):
    machine.run("test.sh")
    machine.root = machine.root.rename(machine.root.with_name("moved here"))
    machine.run("test.sh")
    assert f"-e {machine.root}" in machine.logged("pip ")


def test_another_folder_can_hold_the_environment(machine):
    assert machine.run("test.sh", VENV="my env")[0] == 0
    assert (machine.elsewhere / "my env" / "pyvenv.cfg").exists()
    assert not machine.venv.exists()


def test_a_folder_that_is_no_environment_is_left_as_it_is(machine):
    letter = machine.elsewhere / "letter"
    letter.write_text("dear")
    status, message = machine.run("test.sh", VENV=str(machine.elsewhere))
    assert status == 2
    assert "is not a virtual environment" in message
    assert [letter] == list(machine.elsewhere.iterdir())


def test_two_at_once_install_once(machine):
    processes = [machine.start("test.sh", SLOW_PIP="0.3") for _ in range(2)]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0]
    assert len(machine.logged("venv by ")) == 1
    assert len(machine.logged("pip ")) == 3


def test_the_job_runs_the_quickstart_unless_told_otherwise(machine):
    machine.run("local.sh", "--config.pruning.keep_rate=0.5")
    assert machine.logged("argument ") == [
        "<-m>",
        "<renyi_jax.main>",
        f"<--config={machine.root}/configs/quickstart.py>",
        f"<--workdir={machine.root}/runs/quickstart>",
        "<--config.pruning.keep_rate=0.5>",
    ]


@pytest.mark.parametrize("flags", [["--config=my/own.py"], ["--config", "my/own.py"]])
def test_another_config_gets_its_own_workdir(machine, flags):
    machine.run("local.sh", *flags)
    arguments = machine.logged("argument ")[2:]
    assert arguments == [f"<--workdir={machine.root}/runs/own>", *(f"<{flag}>" for flag in flags)]


@pytest.mark.parametrize("flags", [["--workdir=a b"], ["--workdir", "a b"]])
def test_a_given_workdir_is_kept(machine, flags):
    machine.run("local.sh", *flags)
    arguments = machine.logged("argument ")[2:]
    assert arguments == [
        f"<--config={machine.root}/configs/quickstart.py>",
        *(f"<{flag}>" for flag in flags),
    ]


def test_the_tests_get_their_arguments_and_give_back_their_status(machine):
    status, _ = machine.run("test.sh", "-k", "one or two", "tests/a b.py", RUN_STATUS="5")
    assert status == 5
    _, pytest_, *arguments = machine.logged("argument ")
    assert pytest_ == "<pytest>"
    # After those of the script, so that they can take its own back.
    assert arguments[-3:] == ["<-k>", "<one or two>", "<tests/a b.py>"]


def test_an_accelerator_adds_its_requirements(machine):
    assert machine.run("install.sh", ACCELERATOR="tpu")[0] == 0
    assert f"-r {machine.root}/requirements-tpu.txt" in machine.logged("pip ")
    assert machine.logged("argument ") == []


def test_an_unknown_accelerator_ends_with_status_2(machine):
    status, message = machine.run("local.sh", ACCELERATOR="gpu")
    assert status == 2
    assert "expected tpu or cuda" in message


@pytest.mark.parametrize("status", [0, 2, 75])
def test_a_worker_asks_main_to_tell_a_stop_from_the_end_and_ends_as_it_does(machine, status):
    flags = (f"--workdir={machine.elsewhere}", "--config.x=a b")
    assert machine.run("worker.sh", *flags, RUN_STATUS=str(status))[0] == status
    asked = ("-m", "renyi_jax.main", "--stopped_status=75", *flags)
    assert machine.logged("argument ") == [f"<{flag}>" for flag in asked]


def test_a_worker_without_a_workdir_ends_with_status_2(machine):
    status, message = machine.run("worker.sh", "--config=a.py")
    assert status == 2
    assert "--workdir" in message


def test_a_worker_that_is_told_to_stop_tells_main_and_waits_for_it(machine):
    process = machine.start(
        "worker.sh", f"--workdir={machine.elsewhere}", RUN_UNTIL_TOLD="yes", RUN_STATUS="75"
    )
    while not machine.logged("waits"):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    process.communicate()
    assert process.returncode == 75
    assert machine.logged("told to stop") == [""]


def test_shellcheck_finds_nothing():
    shellcheck = shutil.which(
        "shellcheck", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    launch = ROOT / "launch"
    scripts = [*launch.glob("*.sh"), launch / "slurm.sbatch", ROOT / ".ci" / "run"]
    result = subprocess.run(
        [shellcheck, "-x", "-P", "SCRIPTDIR", *map(str, scripts)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout
