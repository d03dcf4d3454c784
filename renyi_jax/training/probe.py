"""A linear probe: the best head on frozen features, found before anything else is trained.

The gradients of a random head bend pretrained features before the head has learnt anything. To fit
the head first, and then all weights, keeps what they know (Kumar et al. 2022, arXiv 2202.10054).
On frozen features that is a convex problem: each image is seen once, and no schedule is needed.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int
from scipy.optimize import minimize
from scipy.special import log_softmax

from renyi_jax.common.progress import phase, progress
from renyi_jax.data import Dataset
from renyi_jax.models import Forward, VisionTransformer, weights_of
from renyi_jax.parallel import BatchPlacement, put, replicated, shared_batch
from renyi_jax.training.setup import test_batches
from renyi_jax.training.stopping import Stopped


class Head(NamedTuple):
    """A linear classifier."""

    kernel: Float[np.ndarray, "d classes"]
    bias: Float[np.ndarray, "classes"]


def probe(
    model: VisionTransformer,
    dataset: Dataset,
    config: Any,
    mesh: Mesh,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Replaces the head of `model` by `fit_head` on the training split, without augmentation.

    Raises Stopped, with nothing saved, once `is_over()` says that the process is to stop.
    """
    features, labels = _training_features(model, dataset, config, mesh, is_over)
    with phase("Fitting the head"):
        head = fit_head(features, labels, model.spec.num_classes, config.train.label_smoothing)
    head = multihost_utils.broadcast_one_to_all(head)
    accuracy = np.mean((features @ head.kernel + head.bias).argmax(axis=1) == labels)
    logging.info("Linear probe: %.1f %% of %d training images.", 100 * accuracy, len(labels))
    layers = _heads(model)
    for layer, kernel in zip(layers, np.split(head.kernel, len(layers)), strict=True):
        layer.kernel[...] = jnp.asarray(kernel, jnp.float32)
        layer.bias[...] = jnp.asarray(head.bias, jnp.float32)


def fit_head(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    num_classes: int,
    smoothing: float = 0.0,
) -> Head:
    """Fits the multinomial logistic regression of `labels` on `features`.

    Minimises the mean cross entropy plus `|kernel|^2 / 2n` in units of standardised features, which
    is scikit-learn's LogisticRegression at C = 1 but for one scale for all features. `smoothing` is
    the share of each target that is spread over all classes.
    """
    count, width = features.shape
    mean = features.mean(axis=0, dtype=np.float64)
    inputs = features - mean
    scale = np.sqrt(np.mean(inputs**2)) or 1.0
    inputs = np.column_stack([inputs / scale, np.ones(count)])
    targets = (1 - smoothing) * np.eye(num_classes)[labels] + smoothing / num_classes

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(width + 1, num_classes)
        penalized = np.vstack([weights[:-1], np.zeros(num_classes)])
        log_probabilities = log_softmax(inputs @ weights, axis=1)
        loss = -np.sum(targets * log_probabilities) + np.sum(penalized**2) / 2
        gradient = inputs.T @ (np.exp(log_probabilities) - targets) + penalized
        return loss / count, gradient.ravel() / count

    start = np.zeros((width + 1) * num_classes)
    tight = {"gtol": 1e-7, "ftol": 1e-13, "maxiter": 1000}
    best = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options=tight).x
    *kernel, bias = best.reshape(width + 1, num_classes)
    kernel = np.stack(kernel) / scale
    return Head(kernel, bias - mean @ kernel)


def _heads(model: VisionTransformer) -> list[Any]:
    return [head for head in (model.head, model.head_dist) if head is not None]


def _training_features(
    model: VisionTransformer, dataset: Dataset, config: Any, mesh: Mesh, is_over: Callable[[], bool]
) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, "n"]]:
    """What the heads see of the training images; their outputs are averaged, as the logits are."""
    num_heads = len(_heads(model))
    body = nnx.clone(model)
    body.head = body.head_dist = None
    forward, params = Forward.of(body), weights_of(body)

    def read(params: Any, batch: Mapping[str, Array]) -> tuple[Array, Array, Array]:
        if num_heads == 1:
            features = forward(params, batch["image"])
        else:
            tokens = forward.features(params, batch["image"])[:, :num_heads]
            features = tokens.reshape(len(tokens), -1).astype(jnp.float32) / num_heads
        return features, batch["label"], batch["valid"]

    wanted = min(config.evaluate.batch_size, len(dataset.train))
    place = BatchPlacement(mesh, shared_batch(mesh, wanted))
    tested = dataclasses.replace(dataset, test=dataset.train, has_object_masks=False)
    batches = test_batches(model, tested, config, place)
    whole = replicated(mesh)
    params = put(params, whole)
    read = jax.jit(read, out_shardings=whole)
    features, labels = [], []
    total = -(-len(dataset.train) // place.batch_size)
    for batch in progress(batches, "Computing features", unit="batch", total=total):
        if is_over():
            logging.warning("Stopped before the first step. The same command starts again.")
            raise Stopped
        placed = place({name: batch[name] for name in ("image", "label", "valid")})
        outputs = jax.tree.map(lambda array: array.addressable_data(0), read(params, placed))
        rows, classes, valid = map(np.asarray, outputs)
        features.append(rows[valid])
        labels.append(classes[valid])
    return np.concatenate(features), np.concatenate(labels)
