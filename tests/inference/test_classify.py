"""Pictures to classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tiny import tiny_model, tiny_spec

from renyi_jax.errors import UserError
from renyi_jax.inference import Classifier, read_class_names
from renyi_jax.models import normalize_images
from renyi_jax.pruning import PruningConfig

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
NAMES = [f"kind {number}" for number in range(10)]


@pytest.fixture(scope="module")
def model():
    return tiny_model(PruningConfig(keep_rate=0.5, blocks=(1, 2)))


@pytest.fixture(scope="module")
def classifier(model):
    return Classifier(model, NAMES, batch_size=3)


def test_every_picture_gets_what_the_model_says_of_it(model, classifier):
    found = list(classifier(PIXELS))
    images = normalize_images(jnp.asarray(PIXELS), model.spec.mean, model.spec.std)
    logits, trace = jax.jit(lambda images: model(images, return_trace=True))(images)
    for prediction, expected, kept, image in zip(found, logits, trace[-1].kept, PIXELS):
        np.testing.assert_allclose(prediction.probabilities, jax.nn.softmax(expected), rtol=1e-4)
        assert prediction.top(1)[0][0] == NAMES[int(expected.argmax())]
        np.testing.assert_array_equal(np.flatnonzero(prediction.kept), kept)
        np.testing.assert_array_equal(prediction.pixels, image)
        assert sum(share for _, share in prediction.top(10)) == pytest.approx(1, rel=1e-5)


def test_batches_of_any_length_and_any_order_compile_once(classifier, count_compilations):
    next(classifier(PIXELS[:1]))
    with count_compilations() as compiled:
        assert len(list(classifier(PIXELS[:4], alpha=3.0))) == 4
        assert len(list(classifier([Image.fromarray(PIXELS[0]), PIXELS[1]]))) == 2
    assert "forward" not in " ".join(compiled)


def test_a_picture_that_cannot_be_read_spoils_no_other(classifier, tmp_path):
    (tmp_path / "x.jpg").write_text("words")
    good = list(classifier(PIXELS[:3]))
    found = list(classifier([PIXELS[0], tmp_path / "x.jpg", PIXELS[1], PIXELS[2]]))
    assert isinstance(found.pop(1), UserError)
    for left, right in zip(found, good):
        np.testing.assert_allclose(left.probabilities, right.probabilities, rtol=1e-5)


def test_all_patches_are_kept_without_pruning_and_classes_are_numbered_without_names():
    (prediction,) = Classifier(tiny_model(), batch_size=1)(PIXELS[:1])
    assert prediction.kept.all()
    assert prediction.top(1)[0][0].startswith("class ")


def test_a_model_that_cannot_classify_is_refused(model):
    with pytest.raises(UserError, match="7 class names, and the model has 10 classes"):
        Classifier(model, NAMES[:7])
    with pytest.raises(UserError, match="no classifier"):
        Classifier(tiny_model(spec=tiny_spec(num_classes=0)))


def test_class_names_are_read_a_line_each(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("cat\nbig dog\nä\n\n", "utf-8")
    assert read_class_names(file) == ["cat", "big dog", "ä"]
    file.write_text("cat\n\ndog\n")
    with pytest.raises(UserError, match="line 2 is empty"):
        read_class_names(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="expected text in UTF-8"):
        read_class_names(file)
    with pytest.raises(UserError, match="No such file"):
        read_class_names(tmp_path / "none.txt")
