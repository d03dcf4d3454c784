"""How far prunings take a model from what it should say, image by image; kept once it is known."""

import functools
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from renyi_jax.common.store import Store
from renyi_jax.common.version import __version__
from renyi_jax.models import VisionTransformer
from renyi_jax.models.weights import weights_digest
from renyi_jax.planning.walk import Walk
from renyi_jax.pruning import PruningConfig

TOGETHER = 32
"""Prunings that are run together: so many that they share much, so few that the time left is told
often."""

Outputs = Float[Array, "b o"]
Pixels = UInt8[np.ndarray, "n height width 3"]
Labels = Int[np.ndarray, "n"]


class Objective(NamedTuple):
    """What a plan is to make small.

    Attributes:
        name: in words.
        loss: of the outputs of a batch, those of the unpruned model, and the labels; one number for
            each image.
        reads_labels: whether it reads the labels, and else the outputs of the unpruned model.
    """

    name: str
    loss: Callable[[Outputs, Any, Any], Float[Array, "b"]]
    reads_labels: bool = False


def _divergence(outputs: Outputs, plain: Outputs, _: Any) -> Float[Array, "b"]:
    target = jax.nn.log_softmax(plain)
    return jnp.sum(jnp.exp(target) * (target - jax.nn.log_softmax(outputs)), axis=1)


def _likelihood(outputs: Outputs, _: Any, labels: Int[Array, "b"]) -> Float[Array, "b"]:
    return -jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], axis=1)[:, 0]


def _angle(outputs: Outputs, plain: Outputs, _: Any) -> Float[Array, "b"]:
    lengths = jnp.linalg.norm(outputs, axis=1) * jnp.linalg.norm(plain, axis=1)
    return 1 - jnp.sum(outputs * plain, axis=1) / lengths


DIVERGENCE = Objective("divergence from the unpruned model (nats)", _divergence)
LIKELIHOOD = Objective("negative log likelihood (nats)", _likelihood, reads_labels=True)
ANGLE = Objective("1 - cosine with the unpruned features", _angle)


def objective_of(num_classes: int, has_labels: bool) -> Objective:
    """Returns what can be judged: labels by a head, else likeness to the unpruned model."""
    if not num_classes:
        return ANGLE
    return LIKELIHOOD if has_labels else DIVERGENCE


class Judge:
    """Judges prunings of one model on images.

    Args:
        model: with its weights.
        images: pixels of its size.
        labels: their classes, of the model's; None where they are not known.
        batch_size: images at a time.
        store: where what is known is found, and kept; without one, nothing is.
    """

    def __init__(
        self,
        model: VisionTransformer,
        images: Pixels,
        labels: Labels | None,
        batch_size: int,
        store: Store | None = None,
    ):
        self.objective = objective_of(model.spec.num_classes, labels is not None)
        self._walk = Walk(model, batch_size)
        self._plain: dict[int, Outputs] = {}
        self._images, self._labels = images, labels
        self.batch_size, self._store = batch_size, store
        self.weights = weights_digest(model)
        self._common = {
            "version": __version__,
            "objective": self.objective.name,
            "weights": self.weights,
            "model": [repr(model.spec), str(model.dtype)],
            "device": jax.devices()[0].device_kind,
        }

    def __call__(
        self,
        prunings: Sequence[PruningConfig | None],
        start: int,
        stop: int,
        told: Callable[["Spent"], None] = lambda spent: None,
    ) -> Float[np.ndarray, "prunings images"]:
        """Returns the losses of the images from `start` to `stop`.

        A loss that is no number is infinite. Prunings that are alike go together, and share what
        they have in common.

        Args:
            prunings: to judge.
            start: the first image.
            stop: the first that is left out.
            told: called with each part that is done.
        """
        order = sorted(range(len(prunings)), key=lambda place: _path(prunings[place]))
        losses = np.empty((len(prunings), stop - start), np.float32)
        for first in range(0, len(order), TOGETHER):
            group = order[first : first + TOGETHER]
            for at in range(start, stop, self.batch_size):
                part = slice(at, min(stop, at + self.batch_size))
                found, spent = self._batch([prunings[place] for place in group], part)
                losses[group, part.start - start : part.stop - start] = found
                told(spent)
        return losses

    def _batch(
        self, prunings: Sequence[PruningConfig | None], part: slice
    ) -> tuple[Float[np.ndarray, "prunings b"], "Spent"]:
        images = self._images[part]
        labels = None if self._labels is None else self._labels[part]
        passes = len(prunings) * len(images)
        identity = {
            **self._common,
            "images": images_digest(images, labels),
            "prunings": [each and json.dumps(each.to_json()) for each in prunings],
        }
        shape = jax.ShapeDtypeStruct((len(prunings), len(images)), np.float32)
        if self._store and (held := self._store.load(identity, {"loss": shape})):
            return held["loss"], Spent(passes)
        begin = time.perf_counter()
        # A last batch that is not full is filled up, so that it compiles nothing.
        missing = self.batch_size - len(images)
        images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
        if labels is not None:
            labels = jnp.asarray(np.concatenate([labels, np.repeat(labels[-1:], missing)]))
        plain = [] if self.objective.reads_labels or part.start in self._plain else [None]
        route = self._walk.route([*plain, *prunings])
        self._walk.compile(route)
        compiled = time.perf_counter()
        outputs = self._walk(images, route)
        if plain:
            self._plain[part.start] = outputs.pop(0)
        unpruned = self._plain.get(part.start)
        losses = [_loss(self.objective.loss, each, unpruned, labels) for each in outputs]
        found = np.stack(jax.device_get(losses))[:, : part.stop - part.start]
        found = np.where(np.isfinite(found), found, np.inf).astype(np.float32)
        if self._store:
            self._store.save(identity, {"loss": found})
        return found, Spent(passes, compiled - begin, time.perf_counter() - compiled)


class Spent(NamedTuple):
    """What judging some prunings on some images took.

    Attributes:
        passes: of one image under one pruning.
        compiling: seconds; 0 for what was found in the store, like `running`.
        running: seconds.
    """

    passes: int
    compiling: float = 0.0
    running: float = 0.0


def _path(pruning: PruningConfig | None) -> str:
    """Sorts prunings that go the same way for long next to each other."""
    return "" if pruning is None else repr(pruning.stages)


_loss = functools.partial(jax.jit, static_argnums=0)(lambda loss, *arrays: loss(*arrays))


def images_digest(images: Pixels, labels: Labels | None) -> str:
    """Names images and labels by their content."""
    digest = hashlib.sha256(f"{images.shape}".encode())
    digest.update(np.ascontiguousarray(images).tobytes())
    if labels is not None:
        digest.update(np.asarray(labels, np.int64).tobytes())
    return digest.hexdigest()
