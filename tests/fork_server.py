"""Runs commands as `python -m renyi_jax.COMMAND` does, without importing their libraries each time.

The server imports once what the commands import. For each request, a line of JSON on its standard
input, it forks a child before JAX has started anything, and the child becomes the command: its
module runs as `__main__`, and its exit is that of the interpreter, but for the taking down of the
modules, which takes ten times as long as most commands here. The reply is a line of JSON.
"""

import ast
import atexit
import contextlib
import gc
import importlib.util
import json
import os
import resource
import runpy
import signal
import sys
import time
import warnings

TIMED_OUT = "timed out"

status = 0


@atexit.register  # the first that is registered, and so the last that is called
def leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def module_of(command: str) -> str:
    """The module of a command of this package, or of one that is named in full."""
    return command if "." in command else f"renyi_jax.{command}"


def import_libraries(commands: list[str]) -> None:
    """Imports what the modules of `commands` import, but not those, which define their flags."""
    for command in commands:
        spec = importlib.util.find_spec(module_of(command))
        with open(spec.origin) as file:
            module = ast.parse(file.read())
        module.body = [
            statement
            for statement in module.body
            if isinstance(statement, (ast.Import, ast.ImportFrom))
        ]
        exec(compile(module, spec.origin, "exec"), {})


def serve(replies) -> dict:
    """Answers requests until there are no more, and returns in each child with its request."""
    for line in sys.stdin:
        request = json.loads(line)
        started = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # JAX warns of any fork
            child = os.fork()
        if child == 0:
            replies.close()
            return request
        status, usage = wait(child, started + request["timeout"])
        reply = {"status": status, "peak_bytes": usage.ru_maxrss * 1024}
        print(json.dumps(reply), file=replies, flush=True)
    sys.exit()


def wait(child: int, deadline: float):
    """The exit status of `child`, negative for a signal, and what it used."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpgid(child, child)  # the child does so too, whoever comes first
    timed_out = False
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return TIMED_OUT if timed_out else os.waitstatus_to_exitcode(status), usage
        if time.monotonic() > deadline and not timed_out:
            os.killpg(child, signal.SIGKILL)
            timed_out = True
        time.sleep(0.005)


def become(request: dict) -> None:
    """Gives the child the surroundings that the request asks for."""
    os.setpgid(0, 0)
    for name, descriptor, mode in (("stdin", 0, "rb"), ("stdout", 1, "wb"), ("stderr", 2, "wb")):
        with open(request[name], mode) as file:
            os.dup2(file.fileno(), descriptor)
    sys.stdin = os.fdopen(0)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    resource.setrlimit(resource.RLIMIT_DATA, (request["memory"], request["memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.argv[1:] = request["arguments"]
    sys.orig_argv[1:] = ["-m", module_of(request["command"]), *request["arguments"]]


if __name__ == "__main__":
    replies = os.fdopen(os.dup(1), "w")
    os.set_inheritable(replies.fileno(), False)
    import_libraries(sys.argv[1:])
    gc.freeze()  # or each child, as it ends, would touch, and so copy, all of the memory
    print("ready", file=replies, flush=True)
    request = serve(replies)
    become(request)
    sys.path[0] = request["cwd"]
    try:
        runpy.run_module(module_of(request["command"]), run_name="__main__", alter_sys=True)
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) else 1
        status = code if isinstance(code, int) else int(code is not None)
        raise
