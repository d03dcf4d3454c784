"""Files that commands write and read, on disks and in buckets.

Where the user says where: `path_of` for any path, `output_folder` and `output_file` for those to be
written, which ask before any work whether they can be. What is written goes through `writing`.
"""

import contextlib
import io
import json
import math
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import numpy as np
from etils import epath

from renyi_jax.common.extras import install
from renyi_jax.errors import UserError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def path_of(option: str, value: str | os.PathLike) -> epath.Path:
    """Returns the path, on a disk or `gs://BUCKET/...`, that the user gave to `option`, `~`
    expanded.

    Raises UserError: it is empty, or cannot be the path of a file.
    """
    text = os.fspath(value)
    if not text.strip() or "\0" in text:
        raise UserError(f"{option}={text!r}: expected a path.")
    if match := _SCHEME.match(text):
        _check_scheme(option, text, match[1])
        return epath.Path(text)
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        raise UserError(f"{option}={text}: no home folder is known; ./{text} is a file's name.")
    return epath.Path(expanded)


def local_path(option: str, value: str | os.PathLike) -> Path:
    """Returns what `path_of` does, of a path on a disk; raises `UserError` for any other."""
    path = path_of(option, value)
    if _is_in_bucket(path):
        raise UserError(f"{option}={path}: expected a path on a disk.")
    return Path(path)


def output_folder(option: str, value: str | os.PathLike, *, is_globbed: bool = False) -> epath.Path:
    """Returns the folder that `option` names, which can be written to; it need not exist yet.

    With `is_globbed`, files in it are found by patterns, so that its path may contain none.

    Raises UserError: it is no folder, or cannot be written to; and as `path_of`.
    """
    folder = path_of(option, value).absolute()
    if is_globbed and (found := re.search(r"[*?\[]", str(folder))):
        raise UserError(
            f"{option}={folder}: expected a path without {found[0]!r}, which would be taken for a"
            " part of a pattern where checkpoints are searched."
        )
    _check_writable(option, folder)
    return folder


def output_file(option: str, value: str | os.PathLike) -> epath.Path:
    """Returns the file that `option` names, which can be written; it need not exist yet.

    Raises UserError: it is a folder, a device or a pipe, or its folder cannot be written to; and as
    `path_of`.
    """
    path = path_of(option, value).absolute()
    if os.fspath(value).endswith("/"):
        raise UserError(f"{option}={os.fspath(value)} is a folder; expected the name of a file.")
    try:
        target = path if _is_in_bucket(path) else epath.Path(_target(path))
    except OSError as error:
        raise UserError(f"{option}={path}: {_reason(error)}.") from error
    except UserError as error:
        raise UserError(f"{option}={error} Expected the name of a file.") from error
    _check_writable(option, target.parent)
    return path


@contextlib.contextmanager
def writing(path: epath.PathLike) -> Iterator[BinaryIO]:
    """Gives a file to write to, which becomes `path` when the body ends, whole or not at all.

    A symbolic link is followed; the folder is made; an older file keeps its mode.

    Raises UserError: the file cannot be written, or `path` is no regular file.
    """
    path = epath.Path(path)
    if _is_in_bucket(path):
        data = io.BytesIO()
        yield data
        path.write_bytes(data.getvalue())
        return
    try:
        target = _target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with beside.open("xb") as file:
                yield file
            if target.exists():
                beside.chmod(stat.S_IMODE(target.stat().st_mode))
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {_reason(error)}.") from error


def write_bytes(path: epath.PathLike, data: bytes) -> None:
    """Writes a file, whole or not at all; errors as in `writing`."""
    with writing(path) as file:
        file.write(data)


def write_text(path: epath.PathLike, text: str) -> None:
    """Writes a file of UTF-8, whole or not at all; errors as in `writing`."""
    # The names of files may hold bytes that are no characters.
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: epath.PathLike, value: Any) -> None:
    """Writes `json_text` of a value, indented, whole or not at all; errors as in `writing`."""
    write_text(path, json_text(value, indent=2) + "\n")


def json_text(value: Any, indent: int | None = None) -> str:
    """Returns JSON that every reader takes: infinities are "inf" and "-inf", NaN is null."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def append_text(path: epath.Path, text: str) -> None:
    """Adds `text` to the end of a file, which it makes if there is none."""
    if _is_in_bucket(path):
        # Objects of a bucket cannot grow: this writes another.
        write_text(path, (path.read_text() if path.exists() else "") + text)
    else:
        target = _target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a") as file:
            file.write(text)


def read_text(option: str, value: str | os.PathLike, max_bytes: int = 16 << 20) -> str:
    """Reads the text file that the user gave to `option`, without a byte-order mark.

    Raises UserError: it is missing, no regular file, larger than `max_bytes`, or not UTF-8.
    """
    path = local_path(option, value)
    try:
        if _target(path).stat().st_size > max_bytes:
            raise UserError(f"{path} is larger than {max_bytes >> 20} MB.")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{option}={path}: expected text in UTF-8.") from None
    except UserError as error:
        raise UserError(f"{option}={error} Expected a file of text.") from None
    except OSError as error:
        raise UserError(f"{option}={path} cannot be read: {_reason(error)}.") from error


def cache_folder() -> Path:
    """Returns the folder for what any command may make again."""
    try:
        return Path("~/.cache/renyi_jax").expanduser()
    except RuntimeError:  # a user without a home, as in some containers
        return Path(tempfile.gettempdir(), f"renyi_jax-{os.getuid()}")


def _is_in_bucket(path: epath.Path) -> bool:
    return "://" in str(path)


def _check_scheme(option: str, text: str, scheme: str) -> None:
    if scheme != "gs" or not re.match(r"gs://[^/]", text):
        raise UserError(f"{option}={text}: expected a path on a disk, or gs://BUCKET/PATH.")
    try:
        fsspec.get_filesystem_class("gcs")
    except ImportError:
        raise UserError(
            f"{option}={text} lies in a bucket, for which gcsfs is needed: {install('gcs')}"
        ) from None


def _target(path: epath.PathLike) -> Path:
    """The regular file that `path` stands for, links followed; it need not exist."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}.")
    return Path(os.path.realpath(path))


def _check_writable(option: str, folder: epath.Path) -> None:
    """Writes a small file where `folder` is, or is to be, and takes it away again."""
    try:
        place = folder if _is_in_bucket(folder) else _existing(Path(folder))
        probe = place / f".{secrets.token_hex(8)}.part"
        try:
            probe.write_bytes(bytes(4096))  # on a full disk an empty file can be made
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{option}={folder} is no folder to write to: {_reason(error)}.") from error
    except Exception as error:  # a bucket fails in the ways of its client
        if not _is_in_bucket(folder):
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{option}={folder} cannot be written to: {reason}") from error


def _existing(folder: Path) -> Path:
    """The deepest folder on the way to `folder` that exists."""
    place = folder
    while not os.path.lexists(place):
        place = place.parent
    place.stat()  # raises of a link to nowhere, of which no folder can be made
    for name in folder.relative_to(place).parts:
        with contextlib.suppress(FileNotFoundError):
            (place / name).stat()  # raises of a name that is too long
    return place


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def plain(value: Any) -> Any:
    """Returns a value as JSON can hold it; see `json_text`."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
