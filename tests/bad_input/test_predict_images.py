"""Folders and files of --image that are not what they seem."""

import json
import os

import numpy as np
import pytest
from PIL import Image

WEIGHTS = "--weights=embedded:vit_nano_patch4_56"


@pytest.fixture
def photos(tmp_path):
    """A folder of three images."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for place, name in enumerate(("a.jpg", "b.png", "deep/c.webp")):
        rng = np.random.default_rng(place)
        Image.fromarray(rng.integers(0, 256, (60, 70, 3), np.uint8)).save(folder / name)
    return folder


def loop(folder):
    (folder / "loop").symlink_to(".")
    (folder / "deep" / "up").symlink_to("..")


def linked(folder):
    (folder.parent / "elsewhere").mkdir()
    (folder / "b.png").rename(folder.parent / "elsewhere" / "b.png")
    (folder / "linked").symlink_to("../elsewhere")


def dangling(folder):
    (folder / "gone.jpg").symlink_to("nowhere.jpg")


def pipe(folder):
    os.mkfifo(folder / "pipe.jpg")


def named_as_an_image(folder):
    (folder / "x.jpg").mkdir()
    (folder / "b.png").rename(folder / "x.jpg" / "b.png")


def any_bytes(folder):
    os.rename(folder / "a.jpg", os.path.join(os.fsencode(folder), b"caf\xe9\n.jpg"))


def long(folder):
    (folder / "a.jpg").rename(folder / ("x" * 251 + ".jpg"))


def litter(folder):
    for name in ("._a.jpg", "Thumbs.db", ".DS_Store", "notes.txt", "d.heic", ".hidden.png"):
        (folder / name).write_bytes(b"no image")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "a.jpg").write_bytes(b"no image")


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            (loop, linked, dangling, pipe, long, litter),
            (
                *("read already (2)", "nothing (1)", "devices (1)"),
                *(".heic files (1)", "hidden files (5)", "other files (1)"),
            ),
        ),
        ((named_as_an_image, any_bytes), ()),
    ],
    ids=["links and litter", "names"],
)
def test_a_folder_gives_its_images_once_and_tells_of_the_rest(run_command, photos, changes, words):
    for change in changes:
        change(photos)
    out = photos.parent / "out"
    done = run_command(
        "predict", WEIGHTS, f"--image={photos}", "--top=1", "--save_kept", f"--out={out}"
    )
    assert done.status == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert all(word in done.stderr for word in words), done.stderr
    assert len(json.loads((out / "results.json").read_text())["images"]) == 3


CONTENTS = {
    "empty.jpg": (b"", "it is empty"),
    "text.png": (b"just some words", "it is no image"),
    "program.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is no image"),
    "program.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is no image"),
    "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), "convert it to JPEG"),
    "vector.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is no image"),
    "cut.png": (b"\x89PNG\r\n\x1a\n" + bytes(40), "cut.png cannot be read"),
    "page.pdf": (b"%PDF-1.4\n", "it is no image"),
    "huge.ppm": (b"P6\n100000 100000\n255\n", "expected at most 500,000,000"),
}
OTHERS = {
    "pipe.jpg": "a pipe, socket or device",
    "gone.jpg": "a link to nowhere.jpg, and there is no such file",
    "b.pnj": "Did you mean 'b.png'",
}


def test_files_that_are_no_images_are_refused_by_name(refuses, photos):
    for name, (content, _) in CONTENTS.items():
        (photos / name).write_bytes(content)
    for make in (pipe, dangling):
        make(photos)
    reasons = {**{name: words for name, (_, words) in CONTENTS.items()}, **OTHERS}
    done = refuses("predict", WEIGHTS, *(f"--image={photos / name}" for name in reasons))
    lines = done.stderr.splitlines()
    assert f"{len(reasons)} of {len(reasons)} images could not be read" in done.stderr
    for name, words in reasons.items():
        assert any(name in line and words in line for line in lines), (name, done.stderr)


def test_a_folder_without_images_says_what_it_has(refuses, tmp_path):
    (tmp_path / "x.heic").write_bytes(b"")
    refuses("predict", WEIGHTS, f"--image={tmp_path}", words=(".heic files (1)", "Convert"))


def test_one_broken_image_leaves_the_others_to_be_told(refuses, photos):
    (photos / "a.jpg").write_bytes((photos / "a.jpg").read_bytes()[:500])
    done = refuses("predict", WEIGHTS, f"--image={photos}", words="a.jpg cannot be read")
    assert len(done.stdout.splitlines()) == 2
