"""What pip has to bring for what not everybody asks for."""

import importlib.util

from renyi_jax.errors import UserError

_BESIDE = {"onnx": " && pip install --no-deps jax2onnx"}
"""What no extra can bring: jax2onnx pins an old orbax, which it does not use."""


def needs(extra: str, *modules: str) -> None:
    """Raises `UserError` where a module of an extra of pyproject.toml is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed:"
            f" pip install 'renyi_jax[{extra}]'{_BESIDE.get(extra, '')}"
        )
