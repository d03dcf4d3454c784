"""The flags `--config=FILE` and `--config.group.field=value`, and what goes wrong with them."""

import importlib.resources
import inspect
import re
import sys
import traceback
import types
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from renyi_jax.common.files import local_path, read_text
from renyi_jax.config import check_config, unknown_field
from renyi_jax.errors import UserError, nearest

flags.disclaim_key_flags()  # the --help of the command that imports this file lists them

_OVERRIDE = re.compile(r"--?(?:no)?config\.([\w.]+)")


Holder = flags.FlagHolder[ml_collections.ConfigDict]


def define_config(values: flags.FlagValues = flags.FLAGS) -> Holder:
    """Defines `--config`."""
    holder = config_flags.DEFINE_config_file(
        "config",
        None,
        "The run: a file, or the name of one of configs/, which the package ships;"
        " --config.group.field=value changes it.",
        flag_values=values,
    )
    values["config"].parser = _ConfigParser()
    return holder


def parse_flags(argv: list[str], values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parses the command line; returns the command and the arguments that are no flags.

    Raises UserError: an unknown field, a value that a field does not take, or a config file that is
    missing or raises. flags.Error: the same of other flags.
    """
    overrides = filter(None, map(_OVERRIDE.match, argv))
    problems = list(filter(None, (unknown_field(match[1]) for match in overrides)))
    if problems:
        raise UserError("\n".join(problems))
    try:
        return values(argv)
    except (MemoryError, RecursionError):  # of Python's parser
        raise UserError("The value of a field is nested too deeply.") from None
    except flags.Error as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, UserError):
            raise cause from None
        raise


def read_config(holder: Holder) -> ml_collections.FrozenConfigDict:
    """Returns the checked config of `define_config`; raises UserError without one, or as
    `check_config`."""
    if holder.value is None:
        raise UserError("Give --config=FILE, a file whose get_config() returns a config.")
    return check_config(holder.value)


def _find(path: Path) -> Path:
    """The file at a path, or the shipped one of that name."""
    if path.exists():
        return path
    is_name = len(path.parts) == 1 and not path.suffix
    folder = (
        Path(str(importlib.resources.files("renyi_jax"))) / "configs" if is_name else path.parent
    )
    known = {each.stem if is_name else each.name: each for each in folder.glob("*.py")}
    if path.name not in known:
        raise UserError(f"There is no config file {path}.{nearest(path.name, known)}")
    return known[path.name]


class _ConfigParser(flags.ArgumentParser):
    """Loads FILE, or FILE:ARGUMENT where its get_config takes one."""

    def parse(self, argument: str) -> ml_collections.ConfigDict:
        file, *arguments = argument.split(":", 1)
        path = _find(local_path("--config", file))
        source = read_text("--config", path)
        sys.path.insert(0, str(path.resolve().parent))  # what a config imports may lie beside it
        try:
            config = _get_config(path, source, arguments)
        except (UserError, KeyboardInterrupt):
            raise
        except BaseException as error:  # a config file is a program, and may do anything
            raise UserError(_explain(error, path)) from error
        config.lock()
        return config


def _get_config(path: Path, source: str, arguments: list[str]) -> ml_collections.ConfigDict:
    module: Any = types.ModuleType("config_file")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where its dataclasses look for their module
    exec(compile(source, path, "exec"), module.__dict__)
    if not callable(getattr(module, "get_config", None)):
        raise UserError(f"{path} has no get_config(), which returns the config of a run.")
    try:
        inspect.signature(module.get_config).bind(*arguments)
    except TypeError:
        expected = "no argument" if arguments else f"an argument, as in --config={path}:ARGUMENT"
        raise UserError(f"{path}: its get_config takes {expected}.") from None
    config = module.get_config(*arguments)
    if not isinstance(config, dict | ml_collections.ConfigDict):
        raise UserError(
            f"{path}: get_config() returned {config!r:.100}; expected a config, as default_config()"
            " makes it."
        )
    return ml_collections.ConfigDict(config) if isinstance(config, dict) else config


def _explain(error: BaseException, path: Path) -> str:
    """Why a config file cannot be loaded, and in which line."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    where = f", line {lines[-1]}" if lines else ""
    return f"{path}{where}: {type(error).__name__}: {error}"
