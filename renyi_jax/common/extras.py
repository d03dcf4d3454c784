"""What pip has to bring for what not everybody asks for: the extras of this package."""

import importlib.metadata
import importlib.util
import re
import sys
from types import TracebackType

from renyi_jax.errors import UserError

_BESIDE = {"onnx": " && pip install --no-deps jax2onnx"}
"""What no extra can bring: jax2onnx pins an old orbax, which it does not use."""


def install(extra: str) -> str:
    """Returns the command that brings an extra."""
    return f'pip install "renyi_jax[{extra}]"{_BESIDE.get(extra, "")}'


def lacking(extra: str, *modules: str) -> str | None:
    """Returns what to say where a module of an extra is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return _words(missing, extra) if missing else None


def needs(extra: str, *modules: str) -> None:
    """Raises `UserError` where a module of an extra is not installed."""
    if words := lacking(extra, *modules):
        raise UserError(words)


def explain(error: BaseException) -> str | None:
    """Returns what to say of an import that failed for want of an extra; None of other errors."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    module = error.name.split(".")[0]
    extra = _extra_of(module)
    return _words([module], extra) if extra else None


def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A `sys.excepthook` for commands, whose imports may fail before any of them runs."""
    if words := explain(error):
        print(words, file=sys.stderr)
        sys.exit(2)
    sys.__excepthook__(kind, error, trace)


def _extra_of(module: str) -> str | None:
    """The first extra that brings a module, by what the installed package says of itself."""
    try:
        requirements = importlib.metadata.requires("renyi_jax") or ()
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        return None
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"""extra == ["'](\w+)["']""", requirement)
        if name and extra and _plain(name[0]) == _plain(module):
            return extra[1]
    return None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _words(missing: list[str], extra: str) -> str:
    verb = "is" if len(missing) == 1 else "are"
    return f"{' and '.join(missing)} {verb} not installed: {install(extra)}"
