"""Images to classes, through one compiled program."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from renyi_jax.common.files import read_text
from renyi_jax.entropy import known_orders
from renyi_jax.errors import UserError
from renyi_jax.images import Source, crop_picture, read_picture
from renyi_jax.models import Forward, VisionTransformer, weights_of
from renyi_jax.models.classes import check_class_names, imagenet_names
from renyi_jax.pruning import on_grid


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says of one image."""

    pixels: UInt8[np.ndarray, "height width 3"]  # the image as the model saw it
    probabilities: Float[np.ndarray, "classes"]  # one per class of `class_names`
    class_names: Sequence[str]
    # the patches that the last pruned block left; all of them without pruning
    kept: Bool[np.ndarray, "rows columns"]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes and their probabilities, the best first."""
        best: list[int] = np.argsort(-self.probabilities, kind="stable")[:count].tolist()
        return [(self.class_names[each], float(self.probabilities[each])) for each in best]


class Classifier:
    """Classifies images of any kind and shape, `batch_size` in each call of one compiled program.

    Args:
        model: with a head; its pruning acts.
        class_names: one per class; "class 0" and so on by default.

    Raises UserError: the model has no head, or not as many classes as there are names.
    """

    def __init__(
        self,
        model: VisionTransformer,
        class_names: Sequence[str] | None = None,
        batch_size: int = 16,
    ):
        spec = model.spec
        if not spec.num_classes:
            raise UserError("The model has no classifier: its weights were published without one.")
        if class_names is None:
            class_names = [f"class {number}" for number in range(spec.num_classes)]
        check_class_names(class_names, spec.num_classes)
        self.class_names = class_names
        self.batch_size = batch_size
        self._spec = spec
        self._alphas = np.array(
            model.pruning.per_block("alpha") if model.pruning else (), np.float32
        )
        self._weights = weights_of(model)
        forward = Forward.of(model)

        @jax.jit
        def classify(weights, pixels, alpha):
            logits, trace = forward(weights, pixels, alpha, return_trace=True)
            return jax.nn.softmax(logits), trace[-1].kept if trace else None

        self._compiled = classify

    def __call__(
        self, sources: Iterable[Source], alpha: float | Sequence[float] | None = None
    ) -> Iterator[Prediction | UserError]:
        """Yields one prediction for each image, in order, as their batches are done.

        An image that cannot be read gives the `UserError` that says why. Another order `alpha` than
        the model's compiles nothing.

        Raises UserError: an order outside (0, inf].
        """
        for batch in _batched(sources, self.batch_size):
            read = [self._read(source) for source in batch]
            pixels = [each for each in read if isinstance(each, np.ndarray)]
            predictions = iter(self._classify(pixels, alpha) if pixels else ())
            for each in read:
                yield each if isinstance(each, UserError) else next(predictions)

    def probabilities(
        self,
        pixels: UInt8[np.ndarray, "b height width 3"],
        alpha: float | Sequence[float] | None = None,
    ) -> tuple[Float[Array, "b classes"], Int[Array, "b kept"] | None]:
        """Returns the probabilities of a batch, and the patches kept last; None without pruning."""
        alphas = self._alphas
        if alpha is not None:
            alphas = np.broadcast_to(known_orders(alpha), alphas.shape)
        return self._compiled(self._weights, pixels, alphas)

    def _read(self, source: Source) -> np.ndarray | UserError:
        try:
            spec = self._spec
            picture = read_picture(source)
            return crop_picture(picture, spec.image_size, spec.crop_pct, spec.interpolation)
        except UserError as error:
            return error

    def _classify(self, pixels: list[np.ndarray], alpha) -> Iterator[Prediction]:
        batch = np.zeros((self.batch_size, *pixels[0].shape), np.uint8)
        batch[: len(pixels)] = pixels
        probabilities, kept = jax.device_get(self.probabilities(batch, alpha))
        rows, columns = self._spec.grid_size
        for number, image in enumerate(pixels):
            grid = np.ones((rows, columns), bool)
            if kept is not None:
                positions = kept[number]
                grid = ~np.isnan(on_grid(np.zeros(len(positions)), positions, (rows, columns)))
            yield Prediction(image, probabilities[number], self.class_names, grid)


def read_class_names(path: str | Path) -> list[str]:
    """Returns the class names of a text file, one a line; "imagenet" stands for ImageNet's 1,000.

    Raises UserError: the file cannot be read, or has an empty line between two names.
    """
    if str(path) == "imagenet":
        return imagenet_names()
    lines = read_text("--class_names", path).rstrip().splitlines()
    names = [line.strip() for line in lines]
    if "" in names:
        raise UserError(f"{path}: line {names.index('') + 1} is empty; expected a class name.")
    return names


def _batched(sources: Iterable[Source], size: int) -> Iterator[list[Source]]:
    remaining = iter(sources)
    while batch := list(itertools.islice(remaining, size)):
        yield batch
