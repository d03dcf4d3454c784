"""Files that are written whole or not at all."""

from etils import epath


def write_text(path: epath.Path, text: str) -> None:
    """Writes beside `path`, then renames, so that `path` never holds a part of `text`."""
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text)
    beside.replace(path)
