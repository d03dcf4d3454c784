"""Commands as a user runs them, each in a child of one process that has their libraries."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import fork_server
import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
PYTHONPATH = os.pathsep.join(filter(None, (str(ROOT), str(TESTS), os.environ.get("PYTHONPATH"))))
COMMANDS = sorted(
    path.stem
    for path in (ROOT / "renyi_jax").glob("*.py")
    if "commands.run(main" in path.read_text()
)


@dataclasses.dataclass(frozen=True)
class Done:
    """What a command left: its exit status (or "timed out"), its words, the memory that it took."""

    status: int | str
    stdout: str
    stderr: str
    peak_bytes: int


@pytest.fixture(scope="session")
def server():
    process = subprocess.Popen(
        [sys.executable, "-m", "fork_server", *COMMANDS],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.stdin.close()
    process.wait()


@pytest.fixture(scope="session")
def run_child(server, tmp_path_factory):
    """Runs `python -m renyi_jax.COMMAND ARGUMENTS...` and returns what it left, as a `Done`.

    Its folder is the repository, unless `cwd` says another. `env` is added to the environment, and
    None in it takes a variable away; variables that Python reads as it starts (PYTHON*, LC_*, LANG)
    cost a process of their own. `stdin` is text, empty by default.
    """

    def running(command, *arguments, cwd=ROOT, env=None, stdin="", timeout=600, memory=8 << 30):
        folder = tmp_path_factory.mktemp("streams")
        paths = {name: folder / name for name in ("stdin", "stdout", "stderr")}
        for name, path in paths.items():
            path.write_text(stdin if name == "stdin" else "")
        call = {
            "command": command,
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd),
            "env": {k: v for k, v in (os.environ | (env or {})).items() if v is not None},
            "timeout": timeout,
            "memory": memory,
            **{name: str(path) for name, path in paths.items()},
        }
        if any(re.match("PYTHON|LC_|LANG", name) for name in env or ()):
            reply = _run_alone(call)
        else:
            print(json.dumps(call), file=server.stdin, flush=True)
            reply = json.loads(server.stdout.readline())
        told = {name: paths[name].read_text(errors="replace") for name in ("stdout", "stderr")}
        return Done(**reply, **told)

    return running


def _run_alone(call: dict) -> dict:
    with (
        open(call["stdin"], "rb") as stdin,
        open(call["stdout"], "wb") as stdout,
        open(call["stderr"], "wb") as stderr,
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", fork_server.module_of(call["command"]), *call["arguments"]],
            cwd=call["cwd"],
            env=call["env"] | {"PYTHONPATH": PYTHONPATH},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            return {"status": process.wait(call["timeout"]), "peak_bytes": 0}
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return {"status": fork_server.TIMED_OUT, "peak_bytes": 0}
