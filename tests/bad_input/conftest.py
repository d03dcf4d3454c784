"""Commands under bad input: what runs them, what they must do, and the table of what was tried."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bad_input import fork_server

ROOT = Path(__file__).resolve().parents[2]
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
        [sys.executable, "-m", "bad_input.fork_server", *COMMANDS],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.stdin.close()
    process.wait()


@pytest.fixture
def run_command(run_child, request):
    """`run_child`, counted in the table of what was tried."""

    def running(command, *arguments, **options):
        request.node.user_properties.append((PROPERTY, f"{command} {_kind(request)}"))
        return run_child(command, *arguments, **options)

    return running


@pytest.fixture
def run_child(server, tmp_path_factory, tmp_path):
    """Runs `python -m renyi_jax.COMMAND ARGUMENTS...` and returns what it left, as a `Done`.

    Its folder is the test's own `tmp_path`, unless `cwd` says another. `env` is added to the
    environment, and None in it takes a variable away; variables that Python reads as it starts
    (PYTHON*, LC_*, LANG) cost a process of their own. `stdin` is text, empty by default.
    """

    def running(command, *arguments, cwd=tmp_path, env=None, stdin="", timeout=120, memory=8 << 30):
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


@pytest.fixture
def refuses(run_command, tmp_path):
    """Asserts that a command ends with status 2 and one message that has all of the `words`.

    Takes what `run_command` takes, and returns the same.
    """

    def refusing(command, *arguments, words=(), **options):
        done = run_command(command, *arguments, **options)
        line = " ".join(map(str, arguments))
        story = f"{command} {line:.1000}\n{done.stdout:.5000}\n{done.stderr:.5000}"
        assert done.status == 2, f"status {done.status}: {story}"
        assert "Traceback" not in done.stderr + done.stdout, story
        assert done.stderr.strip(), f"without a message: {story}"
        for word in (words,) if isinstance(words, str) else words:
            assert word in done.stderr, f"{word!r} is missing: {story}"
        assert not list(tmp_path.rglob("*.part")), f"half-written files: {story}"
        return done

    return refusing


PROPERTY = "bad_input"


def _kind(request) -> str:
    """The kind of bad input that a test file is about, which is in its name."""
    return request.path.stem.removeprefix("test_")


def _run_alone(call: dict) -> dict:
    environment = {"PYTHONPATH": str(ROOT), **call["env"]}
    with (
        open(call["stdin"], "rb") as stdin,
        open(call["stdout"], "wb") as stdout,
        open(call["stderr"], "wb") as stderr,
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", fork_server.module_of(call["command"]), *call["arguments"]],
            cwd=call["cwd"],
            env=environment,
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
