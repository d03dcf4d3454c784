"""Linear probes by ridge regression: each image is judged by a fit to the images of other folds."""

from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

FOLDS = 5
RIDGE = 0.1

FINE = 4
"""Points of the mask along a side of a patch."""


def folds_of(count: int, folds: int = FOLDS) -> Iterator[Bool[np.ndarray, "images"]]:
    """Yields which images each fold holds out."""
    for fold in range(folds):
        yield np.arange(count) % folds == fold


def fitted(
    inputs: Float[np.ndarray, "n d"],
    targets: Float[np.ndarray, "n k"],
    others: Float[np.ndarray, "m d"],
) -> Float[np.ndarray, "m k"]:
    """Returns what the regression, of standardised inputs, predicts for others."""
    mean, std = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6
    inputs, offset = (inputs - mean) / std, targets.mean(axis=0)
    gram = inputs.T @ inputs + RIDGE * len(inputs) * np.eye(inputs.shape[1], dtype=inputs.dtype)
    weights = np.linalg.solve(gram, inputs.T @ (targets - offset))
    return (others - mean) / std @ weights + offset


def probe(tokens: Float[np.ndarray, "b d"], labels: Int[np.ndarray, "b"]) -> Bool[np.ndarray, "b"]:
    """Which images a linear classifier of one-hot labels gets right, fitted to the other folds."""
    targets = np.eye(labels.max() + 1)[labels]
    right = np.empty(len(labels), bool)
    for held_out in folds_of(len(labels)):
        predicted = fitted(tokens[~held_out], targets[~held_out], tokens[held_out])
        right[held_out] = predicted.argmax(axis=1) == labels[held_out]
    return right


def mean_iou(
    features: Float[np.ndarray, "b rows columns d"], mask: Bool[np.ndarray, "b height width"]
) -> Float[np.ndarray, "b"]:
    """The mean over object and background of the IoU of each image, by a probe of other images."""
    batch, rows, columns, width = features.shape
    patches = features.reshape(batch, rows * columns, width).astype(np.float32)
    shares = mask.reshape(batch, rows, FINE, columns, FINE).mean(axis=(2, 4), dtype=np.float32)
    shares, found = shares.reshape(batch, rows * columns, 1), np.empty(mask.shape, bool)
    for held_out in folds_of(batch):
        learned = patches[~held_out].reshape(-1, width), shares[~held_out].reshape(-1, 1)
        predicted = fitted(*learned, patches[held_out].reshape(-1, width))
        grids = predicted.reshape(-1, rows, columns)
        fine = jax.image.resize(grids, (len(grids), *mask.shape[1:]), "bilinear")
        found[held_out] = np.asarray(fine) > 0.5
    return np.mean([_iou(found, mask), _iou(~found, ~mask)], axis=0)


def _iou(found, true):
    both = np.sum(found & true, axis=(1, 2))
    either = np.sum(found | true, axis=(1, 2))
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)
