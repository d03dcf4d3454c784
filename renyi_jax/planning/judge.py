"""How far prunings take a model from what it should say, image by image; kept once it is known."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
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

Outputs = Float[Array, "b o"]
Pixels = UInt8[np.ndarray, "n height width 3"]
Labels = Int[np.ndarray, "n"]


class Objective(NamedTuple):
    """What a plan is to make small.

    Attributes:
        name: in words.
        loss: of the outputs of a batch, those of the unpruned model, and the labels; one number for
            each image.
    """

    name: str
    loss: Callable[[Outputs, Outputs, Any], Float[Array, "b"]]


def _divergence(outputs: Outputs, plain: Outputs, _: Any) -> Float[Array, "b"]:
    target = jax.nn.log_softmax(plain)
    return jnp.sum(jnp.exp(target) * (target - jax.nn.log_softmax(outputs)), axis=1)


def _likelihood(outputs: Outputs, _: Outputs, labels: Int[Array, "b"]) -> Float[Array, "b"]:
    return -jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], axis=1)[:, 0]


def _angle(outputs: Outputs, plain: Outputs, _: Any) -> Float[Array, "b"]:
    lengths = jnp.linalg.norm(outputs, axis=1) * jnp.linalg.norm(plain, axis=1)
    return 1 - jnp.sum(outputs * plain, axis=1) / lengths


DIVERGENCE = Objective("divergence from the unpruned model (nats)", _divergence)
LIKELIHOOD = Objective("negative log likelihood (nats)", _likelihood)
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
        self._walk = Walk(model)
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
        self, prunings: Sequence[PruningConfig | None], start: int, stop: int
    ) -> Iterator[Float[np.ndarray, "prunings b"]]:
        """Yields the losses of the images from `start` to `stop`, batch by batch.

        A loss that is no number is infinite. All prunings of a call share what they have in common.
        """
        for first in range(start, stop, self.batch_size):
            yield self._batch(prunings, first, min(stop, first + self.batch_size))

    def _batch(
        self, prunings: Sequence[PruningConfig | None], start: int, stop: int
    ) -> Float[np.ndarray, "prunings b"]:
        images = self._images[start:stop]
        labels = None if self._labels is None else self._labels[start:stop]
        identity = {
            **self._common,
            "images": images_digest(images, labels),
            "prunings": [each and json.dumps(each.to_json()) for each in prunings],
        }
        shape = jax.ShapeDtypeStruct((len(prunings), len(images)), np.float32)
        if self._store and (held := self._store.load(identity, {"loss": shape})):
            return held["loss"]
        # A last batch that is not full is filled up, so that it compiles nothing.
        missing = self.batch_size - len(images)
        images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
        if labels is not None:
            labels = jnp.asarray(np.concatenate([labels, np.repeat(labels[-1:], missing)]))
        plain, *outputs = self._walk(images, [None, *prunings])
        losses = [_loss(self.objective.loss, each, plain, labels) for each in outputs]
        found = np.stack(jax.device_get(losses))[:, : stop - start]
        found = np.where(np.isfinite(found), found, np.inf).astype(np.float32)
        if self._store:
            self._store.save(identity, {"loss": found})
        return found


_loss = functools.partial(jax.jit, static_argnums=0)(lambda loss, *arrays: loss(*arrays))


def images_digest(images: Pixels, labels: Labels | None) -> str:
    """Names images and labels by their content."""
    digest = hashlib.sha256(f"{images.shape}".encode())
    digest.update(np.ascontiguousarray(images).tobytes())
    if labels is not None:
        digest.update(np.asarray(labels, np.int64).tobytes())
    return digest.hexdigest()
