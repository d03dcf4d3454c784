"""A look at the test images between two epochs."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from renyi_jax.common.progress import progress
from renyi_jax.data import Dataset
from renyi_jax.data.pipeline import eval_loader
from renyi_jax.models import VisionTransformer
from renyi_jax.parallel import BatchPlacement, spread
from renyi_jax.training.step import make_count_correct


def make_validation(
    model: VisionTransformer, dataset: Dataset, config: Any, mesh: Mesh
) -> Callable[[Any, Callable[[], bool]], float | None]:
    """Returns a function from weights to top-1 on the test split, or on its first batches.

    Its second argument says, between two batches, whether to give up, which returns None. The batch
    grows to a multiple of the devices of the mesh.
    """
    count_correct = make_count_correct(model)
    shards = spread(mesh)
    batch_size = -(-config.evaluate.batch_size // shards) * shards
    place = BatchPlacement(mesh, batch_size)

    def accuracy(params: Any, is_over: Callable[[], bool]) -> float | None:
        batches = eval_loader(
            dataset,
            batch_size=batch_size,
            image_size=model.spec.image_size,
            crop_pct=config.data.crop_pct or model.spec.crop_pct,
            interpolation=model.spec.interpolation,
            process_index=place.index,
            process_count=place.count,
        )
        total = -(-len(dataset.test) // batch_size)
        total = min(total, config.train.evaluate_batches or total)
        counts = []
        for batch in progress(
            itertools.islice(batches, total), "Validating", unit="batch", total=total
        ):
            if is_over():
                return None
            counts.append(count_correct(params, place(batch)))
            # One batch at most is computed while the next is prepared: what is shown is done.
            jax.block_until_ready(counts[-2:][0])
        correct, valid = np.sum(jax.device_get(counts), axis=0)
        return float(correct / valid)

    return accuracy
