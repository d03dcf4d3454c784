"""How far pruning moves the class token of a backbone, without training. Start it again to go on.

For each entry of the plans: the cosine of the class token with the unpruned model's, and, with
--probe, the accuracy of a linear probe on it, by five-fold cross-validation over the test images.

  python -m studies.photographs --out=runs/photographs
  python -m studies.features --config=studies/configs/dinov2_photographs.py \\
      --config.data.manual_dir=runs/photographs --config.model.weights=dinov2.safetensors \\
      --by_class --out=runs/study_photographs

OUT/tokens holds the class tokens; OUT/PLAN_cosine.json (with --by_class PLAN_class_cosine.json) and
OUT/PLAN_probe.json have the rows.
"""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from flax import nnx
from jaxtyping import Array, Float, Int

from renyi_jax.cli import commands
from renyi_jax.cli.config import define_config, parse_flags, read_config
from renyi_jax.common.files import output_folder
from renyi_jax.common.store import Store
from renyi_jax.config import pruning_config
from renyi_jax.data.datasets import load_dataset
from renyi_jax.evaluation.judging import Reading
from renyi_jax.models import Forward, load_weights
from renyi_jax.training.setup import model_for
from studies.judging import judge
from studies.plan_flags import BASELINE, define_plans, rows_name
from studies.plans import PLAIN
from studies.probes import probe
from studies.rows import rows_of, write_rows

_CONFIG = define_config()
_plans = define_plans()
_PROBE = flags.DEFINE_bool("probe", False, "Also train a linear probe.")
_BY_CLASS = flags.DEFINE_bool(
    "by_class", False, "Average the cosines of a class first: its images depend on each other."
)
_OUT = flags.DEFINE_string("out", None, "Folder of the results.", required=True)


class Features(NamedTuple):
    """The class token of every image, after the last norm, and the image's label."""

    token: Float[Array | np.ndarray, "b d"]
    label: Int[Array | np.ndarray, "b"]


def main() -> None:
    config: Any = read_config(_CONFIG)
    out = output_folder("--out", _OUT.value)
    dataset = load_dataset(config.data)
    model = model_for(0, config)
    store = Store(out / "tokens")
    load_weights(model, config.model.weights)
    struct: Any = jax.ShapeDtypeStruct
    shapes = Features(struct((model.spec.embed_dim,), np.float32), struct((), np.int32))
    judge_all = functools.partial(
        judge, model, dataset, config, store=store, reading=Reading(read, lambda _: shapes)
    )
    for plan, entries, asked in _plans(pruning_config(config), model.spec):
        judge_all(asked)
        cells = judge_all(entries, compute=False)
        if PLAIN not in cells:
            continue
        plain = cells[PLAIN]
        measures = {"cosine": [cosine(cell.token, plain.token) for cell in cells.values()]}
        if _BY_CLASS.value:
            cosines = measures.pop("cosine")
            measures["class_cosine"] = [by_class(each, plain.label) for each in cosines]
        if _PROBE.value:
            measures["probe"] = [probe(*cell) for cell in cells.values()]
        for measure, scores in measures.items():
            runs = [each[None] for each in scores]
            rows = rows_of(list(cells), runs, model.spec, [{}] * len(cells), BASELINE.value)
            write_rows(out / rows_name(plan, measure), rows, measure, config)


def read(forward: Forward, weights, batch, alphas, key) -> Features:
    """The class tokens of a batch; the model has no head."""
    tokens = forward(weights, batch["image"], alphas, rngs=nnx.Rngs(pruning=key))
    return Features(tokens, batch["label"])


def cosine(
    tokens: Float[np.ndarray, "b d"], others: Float[np.ndarray, "b d"]
) -> Float[np.ndarray, "b"]:
    """Of each token with its like."""
    lengths = np.linalg.norm(tokens, axis=1) * np.linalg.norm(others, axis=1)
    return np.sum(tokens * others, axis=1) / lengths


def by_class(
    values: Float[np.ndarray, "b"], labels: Int[np.ndarray, "b"]
) -> Float[np.ndarray, "classes"]:
    """The mean over the images of each class."""
    return np.array([values[labels == label].mean() for label in np.unique(labels)])


if __name__ == "__main__":
    commands.run(main, parse_flags)
