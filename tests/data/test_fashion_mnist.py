import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from renyi_jax.data import fashion_mnist
from renyi_jax.errors import UserError


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)))
def test_what_is_written_is_read_back(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("idx") / "array.gz"
    fashion_mnist.write_idx(path, array)
    np.testing.assert_array_equal(fashion_mnist.read_idx(path), array)


def test_the_shipped_part_has_the_same_number_of_every_class():
    folder = fashion_mnist.embedded_dir()
    for split, per_class in (("train", 600), ("test", 100)):
        paths = [folder / name for name in fashion_mnist.FILES[split]]
        images, labels = fashion_mnist.read_split(*paths)
        assert images.shape == (10 * per_class, 28, 28)
        assert np.bincount(labels).tolist() == [per_class] * 10


def test_the_shipped_part_takes_at_most_four_megabytes_with_its_licence():
    files = list(fashion_mnist.embedded_dir().iterdir())
    assert sum(file.stat().length for file in files) <= 4e6
    licence = (fashion_mnist.embedded_dir() / "LICENSE").read_text()
    assert "MIT License" in licence and "github.com/zalandoresearch/fashion-mnist" in licence


HEADER = bytes((0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3))

BROKEN = {
    "not gzip": (b"hello", "not a whole gzip file"),
    "gzip cut short": (gzip.compress(HEADER + bytes(6))[:-9], "not a whole gzip file"),
    "empty": (b"", "not an IDX file"),
    "wrong magic": (gzip.compress(b"\x01" + HEADER[1:] + bytes(6)), "not an IDX file"),
    "floats": (gzip.compress(HEADER.replace(b"\x08", b"\x0d") + bytes(24)), "not an IDX file"),
    "header cut short": (gzip.compress(HEADER[:9]), "within its header"),
    "elements missing": (gzip.compress(HEADER + bytes(5)), "should hold 6 bytes"),
    "elements too many": (gzip.compress(HEADER + bytes(7)), "should hold 6 bytes"),
}


@pytest.mark.parametrize("content, message", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_by_name_with_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "broken.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        fashion_mnist.read_idx(path)
    assert str(path) in str(error.value)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_file_cut_anywhere_is_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("idx") / "array.gz"
    fashion_mnist.write_idx(path, np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(UserError):
        fashion_mnist.read_idx(path)


@pytest.mark.parametrize(
    "images, labels, message",
    [
        ((5, 28, 27), [0] * 5, r"expected \(n, 28, 28\)"),
        ((5, 28, 28), [0] * 4, r"expected \(5,\)"),
        ((5, 28, 28), [0, 1, 2, 3, 10], "holds the label 10"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(tmp_path, images, labels, message):
    fashion_mnist.write_idx(tmp_path / "images", np.zeros(images, np.uint8))
    fashion_mnist.write_idx(tmp_path / "labels", np.array(labels, np.uint8))
    with pytest.raises(UserError, match=message):
        fashion_mnist.read_split(tmp_path / "images", tmp_path / "labels")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no file .*absent\.gz"):
        fashion_mnist.read_idx(tmp_path / "absent.gz")
