"""What of a folder is read: one rule for all commands."""

import os
import socket

import pytest

from renyi_jax.errors import UserError
from renyi_jax.images import find_image_files, find_pictures, printable
from renyi_jax.images.files import list_folders


def fill(folder, *names):
    for name in names:
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "x").close()


def test_the_images_of_all_folders_are_found_in_the_order_of_their_names(tmp_path):
    fill(tmp_path, "b.PNG", "a/z.webp", "a/b/c.JPEG", "a-b.jpg", "notes.txt", "x.jpg/deep.gif")
    found = find_image_files(tmp_path)
    assert found.names == ["a/b/c.JPEG", "a/z.webp", "a-b.jpg", "b.PNG", "x.jpg/deep.gif"]
    assert found.skipped == {"other files": 1}
    assert find_pictures(tmp_path) == [tmp_path / name for name in found.names]


def test_what_systems_leave_behind_is_no_image(tmp_path):
    fill(tmp_path, "a.jpg", "._a.jpg", ".hidden.png", "Thumbs.db", ".git/x.jpg", "__MACOSX/a.jpg")
    found = find_image_files(tmp_path)
    assert found.names == ["a.jpg"]
    assert found.skipped == {"hidden files": 5}


def test_formats_without_a_decoder_are_counted_with_what_to_do(tmp_path):
    fill(tmp_path, "a.HEIC", "b.heic", "c.jxl", "d.txt")
    with pytest.raises(UserError) as told:
        find_pictures(tmp_path)
    assert "Not read: .heic files (2), .jxl files (1), other files (1)." in str(told.value)
    assert "Convert images of these formats to JPEG or PNG." in str(told.value)


def test_links_are_followed_and_loops_are_not(tmp_path):
    fill(tmp_path, "data/a/1.jpg", "data/b/2.jpg", "elsewhere/3.jpg")
    data = tmp_path / "data"
    (data / "loop").symlink_to(".")
    (data / "a" / "up").symlink_to("../..")
    (data / "a" / "other").symlink_to("../b")
    (data / "b" / "other").symlink_to("../a")
    (data / "linked").symlink_to("../elsewhere")
    (data / "4.jpg").symlink_to("../elsewhere/3.jpg")
    (data / "gone.jpg").symlink_to("nowhere.jpg")
    (data / "self.jpg").symlink_to("self.jpg")
    found = find_image_files(data)
    assert found.names == ["4.jpg", "a/1.jpg", "b/2.jpg", "linked/3.jpg"]
    assert found.skipped == {"links to folders that are read already": 4, "links to nothing": 2}
    assert list_folders(data) == ["a", "b", "linked"]


def test_what_is_neither_file_nor_folder_is_left_alone(tmp_path):
    fill(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        found = find_image_files(tmp_path)
    assert found.names == ["a.jpg"]
    assert found.skipped == {"pipes, sockets or devices": 2}


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"two\nlines.jpg", b"x" * 246 + b".jpg"])
def test_names_of_any_bytes_are_found_and_told_in_one_line(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    open(path, "x").close()
    (found,) = find_image_files(tmp_path).names
    assert os.fsencode(found) == name
    assert printable(found).isprintable()


def test_a_name_is_printed_as_it_is_where_it_is_text():
    assert printable("Zürich/日本 1.jpg") == "Zürich/日本 1.jpg"
