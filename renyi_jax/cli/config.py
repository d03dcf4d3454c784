"""The flags `--config=FILE` and `--config.group.field=value`, and what goes wrong with them."""

import re
import sys
import traceback
from pathlib import Path

import ml_collections
from absl import flags
from ml_collections import config_flags

from renyi_jax.config import check_config, unknown_field
from renyi_jax.errors import UserError, nearest

# The flags belong to the commands that import this file, so that their --help lists them.
flags.disclaim_key_flags()

_OVERRIDE = re.compile(r"--?(?:no)?config\.([\w.]+)")


Holder = flags.FlagHolder[ml_collections.ConfigDict]


def define_config(values: flags.FlagValues = flags.FLAGS) -> Holder:
    """Defines `--config`."""
    return config_flags.DEFINE_config_file(
        "config",
        None,
        "File of the run, from configs/; --config.group.field=value changes it.",
        flag_values=values,
    )


def parse_flags(argv: list[str], values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parses the command line, which `sys.argv` is, for `commands.run`.

    Returns:
        What is left of `argv`: the command, and the arguments that are no flags.

    Raises:
        UserError: unknown flags and fields, values that a flag does not take, and a config file
            that is missing or raises.
    """
    overrides = filter(None, map(_OVERRIDE.match, argv))
    problems = list(filter(None, (unknown_field(match[1]) for match in overrides)))
    if problems:
        raise UserError("\n".join(problems))
    path = _config_path(argv)
    if path is not None and not path.is_file():
        known = [file.name for file in path.parent.glob("*.py")]
        raise UserError(f"There is no config file {path}.{nearest(path.name, known)}")
    if path is not None:
        sys.path.insert(0, str(path.resolve().parent))  # what a config imports may lie beside it
    try:
        return values(argv)
    except Exception as error:  # A config file is a program, and may raise anything.
        raise UserError(_explain(error, path)) from error


def _config_path(argv: list[str]) -> Path | None:
    for flag, following in zip(argv, [*argv[1:], ""]):
        match = re.fullmatch(r"--?config(?:=(.*))?", flag)
        if match:
            value = following if match[1] is None else match[1]
            return Path(value.split(":")[0])
    return None


def read_config(holder: Holder) -> ml_collections.FrozenConfigDict:
    """The config that the flags of `define_config` give, checked.

    Raises:
        UserError: as `check_config`, and where there is no config.
    """
    if holder.value is None:
        raise UserError("Give --config=FILE, a file whose get_config() returns a config.")
    return check_config(holder.value)


def _explain(error: BaseException, config: Path | None) -> str:
    """Why the flags cannot be parsed: the config file's own error, if it is one."""
    origin = _origin(error)
    if isinstance(origin, SyntaxError):
        return f"{origin.filename}, line {origin.lineno}: {origin.msg}"
    frames = traceback.extract_tb(origin.__traceback__)
    if any(frame.filename == str(config) for frame in frames):
        return f"{frames[-1].filename}, line {frames[-1].lineno}: {_describe(origin)}"
    return str(error)


def _origin(error: BaseException) -> BaseException:
    """The first error of the chain that led to this one."""
    earlier = error.__cause__ or error.__context__
    return error if earlier is None else _origin(earlier)


def _describe(error: BaseException) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
