"""What every command has in common: flags, and mistakes told in one message.

A command defines its flags where it is imported, as absl wants it, so one process imports one
command: tests run commands as a user does.
"""

import logging
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import absl.logging
import jax
from absl import app, flags

import renyi_jax
from renyi_jax.errors import UserError, nearest

Parse = Callable[[list[str]], list[str]]


# The flags belong to the command that calls `run`, so that its --help lists them.
flags.disclaim_key_flags()

_PYTHON = platform.python_version()


def run(main: Callable[[], None], parse: Parse = flags.FLAGS) -> None:
    """Parses the command line and calls `main`.

    A `UserError`, or a wrong flag, is printed on standard error, and the exit status is 2.

    Args:
        main: reads its flags by their holders.
        parse: parses the flags of the command line, and returns what is left of it.
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
            print(f"renyi_jax {renyi_jax.__version__}, JAX {jax.__version__}, Python {_PYTHON}")
            sys.exit(0)
        try:
            rest = parse(argv)
        except SystemExit:  # absl has printed the help, and would end with status 1
            from renyi_jax.cli.help import vocabulary  # which imports the tables of everything

            print(vocabulary(flags.FLAGS))
            sys.exit(0)
        if len(rest) > 1:
            raise UserError(f"Unexpected argument {rest[1]!r}: flags are written --name=value.")
        return rest

    def prepared_main(_: list[str]) -> None:
        if device.value is not None:
            jax.config.update("jax_platforms", device.value)
        _keep_compilations()
        _quiet_libraries()
        try:
            main()
        except RuntimeError as error:
            if not str(error).startswith("Unable to initialize backend"):
                raise
            reason = str(error).splitlines()[0].partition(" (")[0]
            raise UserError(f"{reason}. --platform, or JAX_PLATFORMS, says what to use.") from error

    try:
        app.run(prepared_main, flags_parser=parse_all)
    except (UserError, flags.Error) as error:
        print(_explain(error), file=sys.stderr)
        sys.exit(2)


def _explain(error: Exception) -> str:
    if isinstance(error, flags.UnrecognizedFlagError):
        hint = nearest(error.flagname, flags.FLAGS)
        return f"There is no flag --{error.flagname}.{hint} --help lists the flags."
    return str(error)


def _keep_compilations() -> None:
    """Lets later runs find what this one compiles, in a folder that the user may choose."""
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        folder = Path("~/.cache/renyi_jax/jax").expanduser()
        jax.config.update("jax_compilation_cache_dir", str(folder))
    # Small programs too: a model is drawn by hundreds of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _quiet_libraries() -> None:
    """Logs what this project says, and the warnings of others, unless --verbosity asks for more.

    Orbax warns of checkpoints without metrics, and prints the trace of what it raises too;
    `training.checkpoints` tells what matters of it.
    """
    if flags.FLAGS["verbosity"].present:
        return
    ours = str(Path(__file__).parents[1])

    def is_told(record: logging.LogRecord) -> bool:
        if record.pathname.startswith(ours):
            return True
        return record.levelno >= logging.WARNING and "/orbax/" not in record.pathname

    absl.logging.get_absl_handler().addFilter(is_told)
