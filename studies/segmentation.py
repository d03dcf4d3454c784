"""How much of an object's outline survives pruning: a linear probe of every patch in its place.

For each entry of the plans: the mean IoU of object and background, by five-fold cross-validation
over the test images. The probe is a ridge regression from the feature of a patch, where a dropped
one has the state with which it left, to the share of the patch that the object covers; its grid is
brought to the size of the mask and cut at one half. Start it again to go on.

  python -m studies.segmentation --config=studies/configs/dinov2_clutter.py \\
      --config.model.image_size=224 '--config.data.test_split=test[:300]' --plans=baselines \\
      --keep_rates=0.7,0.5,0.3 --method='renyi 2' --method=random --method=merge \\
      --config.model.weights=dinov2.safetensors --out=runs/study_segmentation

OUT/grids holds the features, OUT/PLAN_miou.json the rows.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from flax import nnx
from jaxtyping import Array, Bool, Float

from renyi_jax.cli import commands
from renyi_jax.cli.config import define_config, parse_flags, read_config
from renyi_jax.common.files import output_folder
from renyi_jax.common.store import Store
from renyi_jax.config import pruning_config
from renyi_jax.data.datasets import load_dataset
from renyi_jax.errors import UserError
from renyi_jax.evaluation.judging import Reading
from renyi_jax.models import Forward, ModelSpec, load_weights
from renyi_jax.training.setup import model_for
from studies.judging import judge
from studies.plan_flags import BASELINE, define_plans, rows_name
from studies.probes import FINE, mean_iou
from studies.rows import rows_of, write_rows

_CONFIG = define_config()
_plans = define_plans()
_OUT = flags.DEFINE_string("out", None, "Folder of the results.", required=True)


class Grids(NamedTuple):
    """Every patch of an image in its place, and its object, `FINE` points to a patch's side."""

    features: Float[Array | np.ndarray, "b rows columns d"]
    mask: Bool[Array | np.ndarray, "b height width"]


def main() -> None:
    config: Any = read_config(_CONFIG)
    out = output_folder("--out", _OUT.value)
    dataset = load_dataset(config.data)
    if not dataset.has_object_masks:
        raise UserError(f"The data set {config.data.name!r} has no masks of objects.")
    model = model_for(0, config)
    load_weights(model, config.model.weights)
    reading = Reading(read, lambda _: shapes(model.spec))
    for plan, entries, asked in _plans(pruning_config(config), model.spec):
        asked = asked or entries
        cells = judge(model, dataset, config, asked, Store(out / "grids"), reading)
        scores = [mean_iou(*cell)[None] for cell in cells.values()]
        rows = rows_of(list(cells), scores, model.spec, [{}] * len(cells), BASELINE.value)
        write_rows(out / rows_name(plan, "miou"), rows, "miou", config)


def shapes(spec: ModelSpec) -> Grids:
    """The shapes of what is read of one image."""
    rows, columns = spec.grid_size
    struct: Any = jax.ShapeDtypeStruct
    return Grids(
        struct((rows, columns, spec.embed_dim), np.float16),
        struct((FINE * rows, FINE * columns), np.bool_),
    )


def read(forward: Forward, weights, batch, alphas, key) -> Grids:
    """The features of a batch, and the middles of the cells of a finer grid of its masks."""
    options = {"grid": True, "rngs": nnx.Rngs(pruning=key)}
    features = forward.features(weights, batch["image"], alphas, **options)
    step = forward.spec.patch_size / FINE
    points = [
        jnp.asarray((np.arange(FINE * patches) + 0.5) * step, jnp.int32)
        for patches in forward.spec.grid_size
    ]
    mask = batch["object_mask"][:, points[0]][:, :, points[1]]
    return Grids(features.astype(jnp.float16), mask)


if __name__ == "__main__":
    commands.run(main, parse_flags)
