"""The documents, as the blocks of code in them."""

import re
from pathlib import Path
from typing import NamedTuple

from fake_programs import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:bash|python|sbatch) [^`]* --?[^`]*)`")
_IN_DOCSTRING = re.compile(r"^ *(python -m renyi_jax\.(?:.*\\\\\n)*.*)$", re.MULTILINE)


class Block(NamedTuple):
    """Code in a document: where it stands, its language, and its text."""

    place: str
    language: str
    text: str


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a document, and the commands with flags that stand in its lines."""
    text = path.read_text()
    found = [_block(path, text, *match.groups()) for match in _BLOCK.finditer(text)]
    inline = _INLINE.findall(_BLOCK.sub("", text))
    return found + [_block(path, text, "bash", code) for code in inline]


def docstring_commands(path: Path) -> list[Block]:
    """The examples in the docstring of a command or a config."""
    docstring = path.read_text().split('"""')[1]
    return [
        _block(path, docstring, "bash", code.replace("\\\\\n", "\\\n"))
        for code in _IN_DOCSTRING.findall(docstring)
        if "$" not in code  # a line of a loop
    ]


def _block(path: Path, text: str, language: str, code: str) -> Block:
    line = text.count("\n", 0, text.index(code.splitlines()[0].rstrip("\\"))) + 1
    return Block(f"{path.relative_to(ROOT)}:{line}", language, code)
