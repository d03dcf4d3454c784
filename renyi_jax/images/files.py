"""Which files of a folder are images: one rule for all that read folders."""

import collections
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging
from etils import epath

from renyi_jax.errors import UserError

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".jpf", ".avif"),
)
"""Of the files that are taken from a folder; a file that is named may be called anything."""

_NOT_DECODED = (
    *(".heic", ".heif", ".hif", ".jxl", ".svg", ".psd", ".eps", ".pdf", ".raw", ".dng", ".cr2"),
    *(".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".ico", ".tga", ".exr", ".hdr"),
)

_LITTER = ("thumbs.db", "desktop.ini", "__macosx")
"""What systems leave in folders, beside hidden files."""


class ImageFiles(NamedTuple):
    """The images in a folder and its folders, as sorted paths within it; and what was skipped,
    counted."""

    names: list[str]
    skipped: collections.Counter[str]


def find_image_files(folder: str | os.PathLike) -> ImageFiles:
    """Lists the images in a folder and its folders.

    Links are followed, and each folder is read once: by its own place if it has one, and never from
    inside itself.
    """
    root = os.fspath(folder)
    names: list[str] = []
    skipped = collections.Counter[str]()
    seen: set[Any] = set()
    if _local(root):
        seen.update(map(_identity, Path(root).resolve().parents))
    folders, links = [""], []
    while folders or links:
        here = folders.pop() if folders else links.pop(0)
        try:
            identity = _identity(os.path.join(root, here)) if _local(root) else here
            if identity in seen:
                skipped["links to folders that are read already"] += 1
                continue
            seen.add(identity)
            entries = list(_entries(os.path.join(root, here)))
        except OSError:
            skipped["folders that cannot be opened"] += 1
            continue
        for entry, kind, is_link in sorted(entries):
            name = f"{here}/{entry}" if here else entry
            if kind == "folder":
                (links if is_link else folders).append(name)
            elif kind == "image":
                names.append(name)
            else:
                skipped[kind] += 1
    return ImageFiles(sorted(names, key=lambda name: name.split("/")), skipped)


def list_folders(folder: str | os.PathLike) -> list[str]:
    """The names of the folders in a folder, sorted: those in which images may be."""
    above = set()
    if _local(os.fspath(folder)):
        above = {_identity(path) for path in (Path(folder), *Path(folder).resolve().parents)}
    return [
        name
        for name, kind, is_link in sorted(_entries(folder))
        if kind == "folder" and not (is_link and _identity(os.path.join(folder, name)) in above)
    ]


def find_pictures(source: str | Path) -> list[Path]:
    """Returns the file `source`, or the images in that folder and its folders.

    Raises UserError if a folder has none.
    """
    path = Path(source)
    if not path.is_dir():
        return [path]
    found = find_image_files(path)
    if not found.names:
        raise UserError(
            f"There is no image in the folder {printable(path)} ({', '.join(SUFFIXES)})."
            f" {describe_skipped(found.skipped)}".rstrip()
        )
    tell_skipped(path, found.skipped)
    return [path / name for name in found.names]


def tell_skipped(folder: str | os.PathLike, skipped: collections.Counter[str]) -> None:
    """Logs in one line what of a folder is not read."""
    if skipped:
        logging.warning("%s: %s", printable(folder), describe_skipped(skipped))


def describe_skipped(skipped: collections.Counter[str]) -> str:
    """What was left out in one sentence, and what to do where images may be among it."""
    if not skipped:
        return ""
    listed = ", ".join(f"{kind} ({count})" for kind, count in sorted(skipped.items()))
    advice = " Convert images of these formats to JPEG or PNG." * any(
        kind.startswith(_NOT_DECODED) for kind in skipped
    )
    return f"Not read: {listed}.{advice}"


def printable(path: str | os.PathLike) -> str:
    """A name as one line of text: bytes that are no text, and control characters, as escapes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def short_name(file: str | os.PathLike) -> str:
    """A short name of a file without its suffix, for figures of it and their own files."""
    return printable(Path(file).stem)[:50]


def _entries(folder: str | os.PathLike) -> Iterator[tuple[str, str, bool]]:
    """Of each entry: its name, whether it is "folder", "image" or what else, and if it is a link.

    Hidden entries are none of the two, whatever they are.
    """
    if not _local(os.fspath(folder)):
        for path in epath.Path(folder).iterdir():
            yield path.name, _kind(path.name, path.is_dir()), False
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                mode = entry.stat().st_mode
            except OSError:
                kind = "links to nothing" if entry.is_symlink() else "files that cannot be opened"
            else:
                kind = _kind(entry.name, stat.S_ISDIR(mode))
                if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                    kind = "pipes, sockets or devices"
            yield entry.name, kind, entry.is_symlink()


def _kind(name: str, is_folder: bool) -> str:
    suffix = os.path.splitext(name)[1].lower()
    if name.startswith(".") or name.lower() in _LITTER:
        return "hidden files"
    if is_folder:
        return "folder"
    if suffix in SUFFIXES:
        return "image"
    return f"{suffix} files" if suffix in _NOT_DECODED else "other files"


def _local(folder: str) -> bool:
    return "://" not in folder


def _identity(folder: str | os.PathLike) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino
