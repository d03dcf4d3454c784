"""The program `renyi-jax`: `renyi-jax COMMAND ...` is `python -m renyi_jax.COMMAND ...`."""

import ast
import re
import runpy
import sys
from pathlib import Path

from renyi_jax.common.version import __version__
from renyi_jax.errors import nearest


def main() -> None:
    """Runs the command that the command line names."""
    known = commands()
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in known:
        sys.argv = [name, *arguments]
        runpy.run_module(f"renyi_jax.{name}", run_name="__main__", alter_sys=True)
    elif name in ("--help", "-h", "help"):
        print("renyi-jax COMMAND [flags]; --help of each lists its flags.\n")
        width = max(map(len, known))
        print("\n".join(f"  {name:{width}}  {words}" for name, words in known.items()))
    elif name == "--version":
        print(f"renyi_jax {__version__}")
    else:
        print(
            f"There is no command {name!r}.{nearest(name, known)} Known: {', '.join(known)}.",
            file=sys.stderr,
        )
        sys.exit(2)


def commands() -> dict[str, str]:
    """Returns the names of the commands, and what each does: the first line of its file."""
    sources = {path.stem: path.read_text("utf-8") for path in Path(__file__).parent.glob("*.py")}
    return {
        name: (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]
        for name, source in sorted(sources.items())
        if re.search(r"^    commands\.run\(", source, re.MULTILINE)
    }


if __name__ == "__main__":
    main()
