"""Flags whose values obey the same rules as the fields of a config."""

from typing import Any

from absl import flags

from renyi_jax.common.fields import Field, literal

flags.disclaim_key_flags()  # the --help of the command that imports this file lists them


def define(name: str, field: Field, help: str, default: Any = ...) -> flags.FlagHolder[Any]:
    """Defines a flag that takes what `field` takes; lists are written with commas.

    The default is that of `field`; None leaves it to something else.
    """
    default = field.default if default is ... else default
    return flags.DEFINE(_Parser(field), name, default, help, serializer=_Serializer())


class _Serializer(flags.ArgumentSerializer):
    """Writes values as `_Parser` reads them: commas between, and slashes within."""

    def serialize(self, value: Any) -> str:
        each = value if isinstance(value, tuple) else (value,)
        return ",".join("/".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in each)


class _Parser(flags.ArgumentParser):
    def __init__(self, field: Field):
        self._field = field

    def parse(self, argument: Any) -> Any:
        value = argument
        if isinstance(argument, str):
            if not all(part.strip() for part in argument.split(",")):
                raise ValueError(f"an empty value; expected {self._field.expected}.")
            value = literal(argument.strip())
        try:
            return self._field.parse(value)
        except (ValueError, TypeError) as error:
            hint = str(error) if str(error).startswith(" Did") else ""
            raise ValueError(f"expected {self._field.expected}.{hint}") from None
