"""Every output is written by one writer, whole or not at all, where the user may write."""

import errno
import json
import math
import os
import socket
import stat
import threading

import numpy as np
import pytest
from etils import epath

from renyi_jax.common import files
from renyi_jax.common.files import (
    append_text,
    json_text,
    local_path,
    output_file,
    output_folder,
    path_of,
    read_text,
    write_bytes,
    write_text,
    writing,
)
from renyi_jax.errors import UserError


def node(tmp_path, kind):
    """A path at which there is something that is no regular file."""
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        try:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("making a device needs a right that this user lacks")
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        os.mkfifo(tmp_path / "target")
        path.symlink_to("target")
    return path


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder", "link"])
def test_what_is_no_regular_file_is_refused_and_stays(tmp_path, kind):
    path = node(tmp_path, kind)
    before = path.lstat()
    with pytest.raises(UserError, match=f"--out={path} is a"):
        output_file("--out", str(path))
    for write in (write_text, append_text):
        with pytest.raises(UserError, match=f"{path} is a"):
            write(epath.Path(path), "words")
    assert path.lstat() == before


def test_a_link_is_followed_even_where_its_target_is_yet_to_come(tmp_path):
    (tmp_path / "deep").mkdir()
    link, target = tmp_path / "link", tmp_path / "deep" / "target"
    link.symlink_to("deep/target")
    for text in ("new", "newer"):
        assert output_file("--out", str(link)) == epath.Path(link)
        write_text(link, text)
        assert link.is_symlink() and not target.is_symlink()
        assert target.read_text() == text
    assert sorted(os.listdir(tmp_path / "deep")) == ["target"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), writing(path) as file:
        file.write(b"half")
        file.flush()
        raise ZeroDivisionError
    with pytest.raises(UserError, match=f"{path} cannot be written: No space left"), writing(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path) == ["file"] and path.read_text() == "old"


def test_of_two_writers_at_once_one_wins_whole(tmp_path):
    path, barrier = tmp_path / "file", threading.Barrier(2)

    def write(letter):
        with writing(path) as file:
            barrier.wait()
            file.write(letter * 100_000)
            barrier.wait()

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in (b"a" * 100_000, b"b" * 100_000)
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_keeps_its_mode_and_a_new_one_has_that_of_the_umask(tmp_path):
    os.umask(mask := os.umask(0))
    path = tmp_path / "file"
    write_bytes(path, b"a")
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    path.chmod(0o640)
    write_bytes(path, b"b")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_names_as_long_as_they_may_be_can_be_written(tmp_path):
    path = tmp_path / ("n" * 255)
    write_text(path, "words")
    assert path.read_text() == "words"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "expected a path"),
        ("  ", "expected a path"),
        ("a\0b", "expected a path"),
        ("http://host/folder", "expected a path on a disk, or gs://BUCKET/PATH"),
        ("file:///tmp/folder", "expected a path on a disk"),
        ("s3://bucket/folder", "expected a path on a disk"),
        ("gs:/bucket/folder", "expected a path on a disk"),
        ("gs:///folder", "expected a path on a disk"),
        ("~nobody-of-this-name/folder", "no home folder is known"),
    ],
)
def test_what_is_no_path_is_refused_for_files_and_folders(value, message):
    for check in (path_of, local_path, output_folder, output_file):
        with pytest.raises(UserError, match=message) as error:
            check("--out", value)
        assert str(error.value).startswith("--out=")


def test_a_bucket_is_refused_where_its_library_is_missing(monkeypatch):
    def missing(protocol):
        raise ImportError(protocol)

    monkeypatch.setattr(files.fsspec, "get_filesystem_class", missing)
    words = r'--workdir=gs://b/run .* pip install "renyi_jax\[gcs\]"'
    with pytest.raises(UserError, match=words):
        output_folder("--workdir", "gs://b/run")


def test_a_folder_is_checked_without_being_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("a/b", "~/a/b", f"{tmp_path}/a/b"):
        assert output_folder("--out", value) == epath.Path(tmp_path) / "a" / "b"
    assert os.listdir(tmp_path) == []
    write_text(output_folder("--out", "a/b") / "file", "words")
    assert (tmp_path / "a" / "b" / "file").read_text() == "words"


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("absent")
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in {
        "file": "Not a directory",
        "file/deep": "Not a directory",
        "nowhere": "No such file",
        "nowhere/deep": "No such file",
        "loop": "symbolic links",
        "absent/" + "n" * 300 + "/deep": "name too long",
    }.items():
        with pytest.raises(UserError, match=f"--out={tmp_path}/{name} is no folder.*{reason}"):
            output_folder("--out", str(tmp_path / name))
    for name in ("file", "loop", "n" * 300):
        with pytest.raises(UserError, match=f"--out={tmp_path}/{name}"):
            output_file("--out", str(tmp_path / name / "model.jax"))


def test_a_full_disk_is_told_before_any_work(tmp_path, monkeypatch):
    def full(self, data):
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(UserError, match=f"--out={tmp_path} is no folder to write to: No space"):
        output_folder("--out", str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_patterns_are_refused_only_where_files_are_searched_by_them(tmp_path):
    folder = tmp_path / "run [1]"
    output_folder("--out", str(folder))
    with pytest.raises(UserError, match=r"expected a path without '\['"):
        output_folder("--workdir", str(folder), is_globbed=True)


def test_json_is_strict():
    value = {"a": (math.nan, math.inf, -math.inf), "b": np.float32(0.5), "c": np.arange(2)}
    assert json.loads(json_text(value), parse_constant=None) == {
        "a": [None, "inf", "-inf"],
        "b": 0.5,
        "c": [0, 1],
    }


def test_text_is_read_without_a_mark_and_only_from_files(tmp_path):
    file = tmp_path / "names.txt"
    file.write_bytes("\ufeffcat\ndög\n".encode())
    assert read_text("--class_names", file) == "cat\ndög\n"
    with pytest.raises(UserError, match="larger than 0 MB"):
        read_text("--class_names", file, max_bytes=3)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="expected text in UTF-8"):
        read_text("--class_names", file)
    for kind in ("pipe", "device", "folder", "link"):
        with pytest.raises(UserError, match=f"--class_names={tmp_path}/{kind} is a"):
            read_text("--class_names", node(tmp_path, kind))
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_text("--class_names", tmp_path / "absent")
