"""Files on disks and in buckets."""

from etils import epath


def write_text(path: epath.Path, text: str) -> None:
    """Writes beside `path`, then renames, so that `path` never holds a part of `text`."""
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text)
    beside.replace(path)


def append_text(path: epath.Path, text: str) -> None:
    """Adds `text` to the end of a file, which it makes if there is none."""
    if "://" in str(path):
        # Objects of a bucket cannot grow: this writes another.
        write_text(path, (path.read_text() if path.exists() else "") + text)
    else:
        with path.open("a") as file:
            file.write(text)
