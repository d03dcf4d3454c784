"""What every command has in common: flags, and mistakes told in one message.

A command defines its flags where it is imported, as absl wants it, so one process imports one
command: tests run commands as a user does.
"""

import datetime
import errno
import importlib.metadata
import io
import logging
import multiprocessing
import os
import platform
import re
import select
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import absl.logging
import jax
from absl import app, flags

from renyi_jax.common import extras, signals
from renyi_jax.common.files import cache_folder, write_text
from renyi_jax.common.version import __version__
from renyi_jax.errors import UserError, nearest

Parse = Callable[[list[str]], list[str]]

_BROKEN_PIPE = 128 + 13  # what a shell says of programs that SIGPIPE ended

flags.disclaim_key_flags()  # the --help of the command that imports this file lists them

_PYTHON = platform.python_version()


def run(main: Callable[[], None], parse: Parse = flags.FLAGS, heeds_signals: bool = False) -> None:
    """Parses the command line and calls `main`.

    A `UserError` or a wrong flag is printed on standard error, with exit status 2. Of an unexpected
    error one sentence is printed, with the file that has the full report, and the status is 1.

    Args:
        parse: parses the flags of the command line, and returns the rest of it.
        heeds_signals: whether `main` handles SIGINT and SIGTERM itself.
    """

    device = flags.DEFINE_enum(
        "platform",
        None,
        ["cpu", "gpu", "tpu"],
        "What JAX runs on, as the variable JAX_PLATFORMS says too; the best there is by default.",
    )
    flags.DEFINE_bool("version", False, "Print the versions, and end.")

    def parse_all(argv: list[str]) -> list[str]:
        if "--version" in argv:
            print(f"renyi_jax {__version__}, JAX {jax.__version__}, Python {_PYTHON}")
            sys.exit(0)
        try:
            rest = parse(argv)
        except SystemExit:  # absl has printed the help, and would end with status 1
            from renyi_jax.cli.help import vocabulary  # which imports the tables of everything

            print(vocabulary(list(flags.FLAGS)))
            sys.exit(0)
        if len(rest) > 1:
            raise UserError(f"Unexpected argument {rest[1]!r}: flags are written --name=value.")
        return rest

    def prepared_main(_: list[str]) -> None:
        if device.value is not None:
            jax.config.update("jax_platforms", device.value)
        _keep_compilations()
        _quiet_libraries()
        main()

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # on a terminal that is ASCII
    try:
        if not heeds_signals:
            signals.act()
        try:
            app.run(prepared_main, flags_parser=parse_all)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(_tell(error))


def _tell(error: BaseException) -> int:
    """Prints what went wrong, and returns the exit status."""
    if _is_unheard(error):
        # Python would complain once more when it flushes what nobody hears.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return _BROKEN_PIPE
    status, message = _explain(error)
    print(re.sub(r"(\S{200})\S{300,}", r"\1...", message), file=sys.stderr)
    return status


def _is_unheard(error: BaseException) -> bool:
    """Whether standard output takes no more: a pipe whose reader has gone, or a full disk."""
    if not isinstance(error, OSError) or error.filename is not None or sys.stdout is None:
        return False
    if isinstance(error, BrokenPipeError):
        poll = select.poll()
        poll.register(sys.stdout, 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    return error.errno == errno.ENOSPC


def _explain(error: BaseException) -> tuple[int, str]:
    """The exit status and the message."""
    if isinstance(error, flags.UnrecognizedFlagError):
        hint = nearest(error.flagname, flags.FLAGS)
        return 2, f"There is no flag --{error.flagname}.{hint} --help lists the flags."
    if isinstance(error, UserError | flags.Error):
        return 2, str(error)
    if words := extras.explain(error):
        return 2, words
    if str(error).startswith("Unable to initialize backend"):
        reason = str(error).splitlines()[0].partition(" (")[0]
        return 2, f"{reason}. --platform, or JAX_PLATFORMS, says what to use."
    if isinstance(error, KeyboardInterrupt):
        for process in multiprocessing.active_children():
            process.kill()  # Python would wait for them at its end
        return signals.INTERRUPTED, "Interrupted."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return 2, f"{error.filename or 'Standard output'} cannot be written: {error.strerror}."
    report = f"The full report is in {_write_report(error)}"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return 1, (
            f"There is not enough memory: a smaller batch, image or model takes less. {report}"
        )
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return 1, f"An unexpected error, {reason:.500}. {report}"


def _write_report(error: BaseException) -> Path | None:
    """Writes a traceback and the versions; returns the file, or None if nothing can be written."""
    versions = [
        f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "flax", "numpy")
    ]
    now = datetime.datetime.now()
    report = "\n".join(
        (
            now.isoformat(timespec="seconds"),
            shlex.join(sys.orig_argv),
            f"in {os.environ.get('PWD')}",
            f"Python {_PYTHON}, {', '.join(versions)}, {platform.platform()}",
            "",
            "".join(traceback.format_exception(error)),
        )
    )
    name = f"{now:%Y%m%d_%H%M%S}_{os.getpid()}.txt"
    for folder in (cache_folder() / "reports", Path(tempfile.gettempdir())):
        try:
            write_text(folder / name, report)
            return folder / name
        except UserError:
            continue
    return None


def _keep_compilations() -> None:
    """Lets later runs find what this one compiles, in a folder that the user may choose."""
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "jax"))
    # Small programs too: a model is drawn by hundreds of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _quiet_libraries() -> None:
    """Logs what this project says, and warnings of others but Orbax, unless --verbosity asks for
    more."""
    if flags.FLAGS["verbosity"].present:
        return
    ours = str(Path(__file__).parents[1])

    def is_told(record: logging.LogRecord) -> bool:
        if record.pathname.startswith(ours):
            return True
        return record.levelno >= logging.WARNING and "/orbax/" not in record.pathname

    absl.logging.get_absl_handler().addFilter(is_told)
