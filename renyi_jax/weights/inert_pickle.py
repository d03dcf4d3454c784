"""Follows the instructions of a pickle without running anything that it names.

A pickle is a program that may call whatever it can name. Here a name stays a name and a call stays
a call: dictionaries, lists, tuples, texts and numbers are put together, and nothing is imported.
Time and memory are bounded by the size of the file, whatever sizes it declares.
"""

import io
import pickletools
from collections.abc import Sequence
from typing import Any, NamedTuple

MOST_STEPS = 1 << 20  # instructions after which the reading ends: some seconds of work

_MARKED = {o.name for o in pickletools.opcodes if pickletools.markobject in o.stack_before}
_PLAIN = {  # texts, bytes and numbers, which follow their instruction
    o.name
    for o in pickletools.opcodes
    if o.arg and not o.stack_before and o.stack_after not in ([], [pickletools.anyobject])
}


class Name(NamedTuple):
    """What a pickle would import."""

    module: str
    attribute: str


class Call(NamedTuple):
    """What a pickle would make by calling something."""

    function: Any
    arguments: Any


class Stored(NamedTuple):
    """What a pickle refers to outside of itself, by its identifier."""

    identifier: Any


class Unpickled(NamedTuple):
    """What a pickle holds."""

    # dictionaries keep only entries whose key is a text: other keys can be chosen so that they
    # collide
    value: Any
    names: list[Name]  # all that it would have imported
    stored: list[Stored]  # all that it refers to outside of itself


def read_pickle(file: io.BytesIO) -> Unpickled:
    """Reads one pickle, and leaves `file` behind it.

    Raises:
        ValueError, LookupError, TypeError: it is damaged, or takes more than `MOST_STEPS`.
    """
    stack: list[Any] = []
    marks: list[list[Any]] = []  # what lay on the stack before each open mark
    memo: dict[int, Any] = {}
    names: list[Name] = []
    stored: list[Stored] = []
    steps = 0
    argument: Any

    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        steps += 1
        if steps > MOST_STEPS:
            raise ValueError(f"its pickle takes more than {MOST_STEPS:,} instructions")
        items: list[Any] = []  # those since the last mark, for an instruction that ends it
        if name in _MARKED:
            items, stack = stack, marks.pop()
        if name in _PLAIN:
            stack.append(argument)
            continue
        match name:
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                index = len(memo) if argument is None else argument
                if index > MOST_STEPS:
                    raise ValueError("its pickle numbers more objects than it can have")
                memo[index] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "MARK":
                marks.append(stack)
                stack = []
            case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(items if name == "TUPLE" else _take(stack, int(name[-1]))))
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "REDUCE" | "NEWOBJ" | "NEWOBJ_EX":
                function, arguments, *_ = _take(stack, 3 if name == "NEWOBJ_EX" else 2)
                stack.append(_call(function, arguments))
                if isinstance(stack[-1], dict):
                    steps += sum(map(len, arguments[:1]))
            case "GLOBAL" | "INST" | "STACK_GLOBAL":
                parts = _take(stack, 2) if argument is None else argument.split(" ", 1)
                names.append(Name(*map(str, parts)))
                stack.append(Call(names[-1], tuple(items)) if name == "INST" else names[-1])
            case "OBJ":
                stack.append(_call(items[0], tuple(items[1:])))
            case "PERSID" | "BINPERSID":
                stored.append(Stored(stack.pop() if argument is None else argument))
                stack.append(stored[-1])
            case "EMPTY_DICT" | "DICT":
                stack.append(_entries(items))
            case "SETITEM" | "SETITEMS":
                entries = _entries(items if name == "SETITEMS" else _take(stack, 2))
                if isinstance(stack[-1], dict):
                    stack[-1].update(entries)
            case "EMPTY_LIST" | "LIST":
                stack.append(items)
            case "APPEND" | "APPENDS":
                items = items if name == "APPENDS" else _take(stack, 1)
                if isinstance(stack[-1], list):
                    stack[-1].extend(items)
            case "EMPTY_TUPLE":
                stack.append(())
            case "POP" if not stack:
                stack = marks.pop()
            case "POP" | "BUILD":  # BUILD gives a state to an object, and no object is made
                stack.pop()
            case "DUP":
                stack.append(stack[-1])
            case "STOP":
                return Unpickled(stack[-1], names, stored)
            case "EMPTY_SET" | "FROZENSET" | "NEXT_BUFFER" | "EXT1" | "EXT2" | "EXT4":
                stack.append(Call(name, ()))
            case "PROTO" | "FRAME" | "POP_MARK" | "ADDITEMS" | "READONLY_BUFFER":
                pass
            case _:
                raise ValueError(f"its pickle has an instruction {name}")
    raise ValueError("its pickle has no end")


def _take(stack: list[Any], count: int) -> list[Any]:
    items = stack[-count:]
    del stack[-count:]
    if len(items) < count:
        raise IndexError("its pickle takes what it has not put down")
    return items


def _entries(items: Sequence[Any]) -> dict[str, Any]:
    pairs = zip(items[::2], items[1::2], strict=True)
    return {key: value for key, value in pairs if isinstance(key, str)}


def _call(function: Any, arguments: Any) -> Any:
    """A call that stays one, but for the dictionary that torch's state dictionaries are."""
    if function != Name("collections", "OrderedDict"):
        return Call(function, arguments)
    pairs = arguments[0] if arguments else ()  # as Python 2 wrote them
    return {key: value for key, value in pairs if isinstance(key, str)}
