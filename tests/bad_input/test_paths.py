"""Paths that a command cannot write to or read from: told before any work, and nothing is left."""

import os
import stat
import subprocess

import numpy as np
import pytest
from PIL import Image

from bad_input.inputs import LINES, QUICKSTART, WRITES_FILE, output


@pytest.fixture
def places(tmp_path):
    """A folder with a photo and with what is no place for an output."""
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "file").write_text("words")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    return tmp_path


def contents(folder):
    status = {path.name: path.lstat() for path in folder.iterdir()}
    return {name: (each.st_mode, each.st_size, each.st_ino) for name, each in status.items()}


NOWHERE = {
    "": "expected a path",
    " ": "expected a path",
    "http://host/folder/name": "expected a path on a disk",
    "file:///tmp/folder/name": "expected a path on a disk",
    "s3://bucket/name": "expected a path on a disk",
    "gs:/bucket/name": "expected a path on a disk",
    "~nobody-of-this-name/name": "no home folder is known",
    "file/name": "Not a directory",
    "loop/name": "symbolic links",
    "n" * 300: "name too long",
    "/proc/absent/name": "No such file",
    "pipe": "pipe",
    "link": "link",
}


WRITERS = ("predict", "convert")  # of a folder, and of a file
NOWHERE_OF = [
    (command, value)
    for command in LINES
    for value in NOWHERE
    if command in WRITERS or value in ("", "pipe")  # all have the same check
]


@pytest.mark.parametrize(("command", "value"), NOWHERE_OF, ids=lambda value: value[:24])
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    refuses, places, command, value
):
    before = contents(places)
    flag = f"{output(command)}={value}"
    done = refuses(command, *LINES[command], flag, words=[output(command), NOWHERE[value]])
    assert contents(places) == before
    assert not done.stdout


@pytest.mark.parametrize("command", LINES)
def test_a_folder_is_no_file_and_a_file_no_folder(refuses, places, command):
    name = "folder/" if command in WRITES_FILE else "file"
    before = contents(places)
    refuses(command, *LINES[command], f"{output(command)}={name}", words=output(command))
    assert contents(places) == before


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("command", LINES)
def test_a_folder_that_is_read_only_is_refused(refuses, places, command):
    (places / "folder").chmod(0o555)
    flag = f"{output(command)}=folder/out.safetensors"
    refuses(command, *LINES[command], flag, words="Permission denied")


@pytest.fixture
def full(places):
    """A disk without a free byte."""
    disk = places / "full"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs a right that this user lacks")
    (disk / "filling").write_bytes(bytes(4096))
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("command", WRITERS)
def test_a_full_disk_is_told_before_any_work(refuses, full, command):
    refuses(command, *LINES[command], f"{output(command)}={full}/out.safetensors", words="No space")
    assert os.listdir(full) == ["filling"]


def test_a_device_made_for_the_purpose_stays_a_device(refuses, places):
    try:
        os.mknod(places / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device needs a right that this user lacks")
    for command in WRITERS:
        refuses(command, *LINES[command], f"{output(command)}=device", words="device")
    assert stat.S_ISCHR((places / "device").stat().st_mode)


def test_the_home_folder_is_the_same_for_every_flag(run_command, places):
    home = {"HOME": str(places)}
    weights = "~/deep/nano.safetensors"
    convert = ("convert", *LINES["convert"])
    assert run_command(*convert, f"--out={weights}", env=home).status == 0
    line = ("predict", f"--weights={weights}", "--image=~/a.png", "--out=~/deep/out")
    done = run_command(*line, env=home)
    assert done.status == 0, done.stderr
    assert (places / "deep" / "out" / "results.json").is_file()
    assert not (places / "~").exists()


def test_without_a_home_commands_work(run_command, places):
    done = run_command("predict", *LINES["predict"], env={"HOME": None, "XDG_CACHE_HOME": None})
    assert done.status == 0, done.stderr


def test_a_link_is_followed_to_a_file_that_is_replaced_whole(run_command, places):
    (places / "target.safetensors").write_text("old")
    (places / "to.safetensors").symlink_to("target.safetensors")
    assert run_command("convert", *LINES["convert"], "--out=to.safetensors").status == 0
    assert (places / "to.safetensors").is_symlink()
    assert (places / "target.safetensors").stat().st_size > 1e5


def test_a_workdir_that_is_a_pattern_is_refused(refuses):
    refuses("main", *LINES["main"], "--workdir=run [1]", words="expected a path without '['")


IMAGES = ("", ",", "a.png,", "http://host/a.png", "gs://bucket/a.png", "~nobody-at-all/a.png")


@pytest.mark.parametrize(
    ("command", "value"), [("visualize", "a.png,"), *(("predict", value) for value in IMAGES)]
)
def test_an_image_that_is_no_path_is_refused_before_any_work(refuses, places, command, value):
    done = refuses(command, *LINES[command], f"--image={value}", words="--image")
    assert not done.stdout and not (places / "out").exists()


@pytest.mark.parametrize(
    ("command", "value", "words"),
    [
        ("export", "", "expected a path"),
        ("export", "pipe", "is a named pipe"),
        ("predict", "/dev/zero", "is a device"),
        ("predict", "huge", "larger than 16 MB"),
    ],
)
def test_class_names_come_from_a_file_of_text(refuses, places, command, value, words):
    with open(places / "huge", "wb") as file:
        file.truncate(1 << 40)
    refuses(command, *LINES[command], f"--class_names={value}", words=["--class_names", words])


CONFIGS = {
    "": "expected a path",
    "absent.py": "There is no config file absent.py",
    "folder": "is a folder",
    "pipe": "is a named pipe",
    "/dev/zero": "is a device",
    "a.png": "expected text in UTF-8",
    "~nobody-at-all/config.py": "no home folder is known",
    f"{QUICKSTART}:tiny": "its get_config takes no argument",
}


@pytest.mark.parametrize("value", CONFIGS, ids=lambda value: value[-24:])
def test_a_config_comes_from_a_file_of_python(refuses, places, value):
    command = "evaluate" if value == "pipe" else "main"
    refuses(command, *LINES[command], f"--config={value}", words=CONFIGS[value])


def test_a_config_file_that_ends_the_program_is_told_in_one_sentence(refuses, tmp_path):
    (tmp_path / "config.py").write_text("import sys\nsys.exit('done')")
    words = "config.py, line 2: SystemExit: done"
    done = refuses("main", "--config=config.py", "--workdir=out", words=words)
    assert len(done.stderr) < 1000
