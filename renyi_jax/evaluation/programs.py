"""The compiled evaluation step of every pruning, one for all orders and all weights."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from renyi_jax.evaluation.metrics import Outcomes, judge
from renyi_jax.evaluation.settings import program_of
from renyi_jax.models import VisionTransformer, normalize_images, patches_on_object
from renyi_jax.parallel import make_mesh, on_mesh, replicated
from renyi_jax.progress import phase
from renyi_jax.pruning import MASKED, PruningConfig

Batch = dict[str, Any]


class Program(NamedTuple):
    """One compiled evaluation step: normalisation, model and judgement of a batch.

    Attributes:
        run: `(params, batch, alphas, key)` to what `evaluate_batch_and_count` makes of the batch.
        peak_memory: bytes of device memory that it needs at once, weights and batch included, as
            the compiler planned them; None where the compiler does not tell.
    """

    run: Any
    peak_memory: int | None


class Programs:
    """The programs of one model, each compiled when it is first asked for.

    Attributes:
        mesh: what they run on: batches are spread over it, weights and outcomes whole everywhere.
    """

    def __init__(self, model: VisionTransformer, sizes: Mapping[str, int]):
        self._model = model
        self.mesh = make_mesh(sizes)
        self._compiled: dict[PruningConfig | None, Program] = {}

    def get(self, setting: PruningConfig | None, params: Any, batch: Batch, key: Any) -> Program:
        """The program of a setting; `params`, `batch` and `key` show the shapes it will run on."""
        name = program_of(setting)
        if name not in self._compiled:
            # The graph is bound, not an argument: hashing it would cost a millisecond a call.
            graphdef = nnx.split(self._model.with_pruning(name))[0]
            step = functools.partial(evaluate_batch_and_count, graphdef)
            with on_mesh(self.mesh), phase("Compiling an evaluation"):
                step = jax.jit(step, out_shardings=replicated(self.mesh))
                compiled = step.lower(params, batch, alphas_of(setting), key).compile()
            self._compiled[name] = Program(compiled, _peak_memory(compiled))
        return self._compiled[name]


def alphas_of(setting: PruningConfig | None) -> np.ndarray:
    """One order per pruned block, an argument of the compiled program."""
    return np.asarray(setting.per_block("alpha") if setting else (), np.float32)


def evaluate_batch(graphdef, params, batch: Batch, alphas, key) -> Outcomes:
    """The outcomes of one batch, under the pruning of the graph."""
    return evaluate_batch_and_count(graphdef, params, batch, alphas, key)[0]


def evaluate_batch_and_count(
    graphdef, params, batch: Batch, alphas, key
) -> tuple[Outcomes, Int[Array, "b stages"]]:
    """The outcomes of one batch, and the tokens that leave each pruned block.

    The tokens of an image are its patches and those that were made of patches; prefix tokens and
    places that it does not need are not counted.
    """
    model = nnx.merge(graphdef, params)
    images = normalize_images(batch["image"], model.spec.mean, model.spec.std)
    logits, trace = model(images, alphas, return_trace=True, rngs=nnx.Rngs(pruning=key))
    on_object = None
    if "object_mask" in batch:
        on_object = patches_on_object(batch["object_mask"], model.spec.patch_size)
    positions = [stage.kept for stage in trace]
    counts = [jnp.sum(each != MASKED, axis=1, dtype=jnp.int32) for each in positions]
    tokens = jnp.stack(counts, axis=1) if counts else jnp.zeros((len(logits), 0), jnp.int32)
    return judge(logits, jnp.asarray(batch["label"]), positions, on_object), tokens


def _peak_memory(compiled: Any) -> int | None:
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    return int(
        plan.argument_size_in_bytes
        + plan.output_size_in_bytes
        + plan.temp_size_in_bytes
        - plan.alias_size_in_bytes
    )
