"""The compiled evaluation steps, and what they say of every single image."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from renyi_jax.common.progress import phase
from renyi_jax.models import Forward, VisionTransformer, patches_on_object
from renyi_jax.parallel import make_mesh, on_mesh, replicated
from renyi_jax.pruning import MASKED, PruningConfig
from renyi_jax.pruning.sweep import program_of


class Outcomes(NamedTuple):
    """One entry per image: of a batch on the device, or of a whole test split as numpy arrays."""

    # the class with the highest logit; ties go to the lower class
    predicted: Int[Array | np.ndarray, "b"]
    # whether it is the label; False where the logits are not finite
    top1: Bool[Array | np.ndarray, "b"]
    top5: Bool[Array | np.ndarray, "b"]  # whether the label is among the five highest, likewise
    nll: Float[Array | np.ndarray, "b"]  # the negative log likelihood of the label, in nats
    # the patches that leave each pruned block, fused tokens not counted
    kept: Int[Array | np.ndarray, "b stages"]
    # of the patches left at the end, those on the labelled object; 0 if unknown
    on_object: Int[Array | np.ndarray, "b"]
    # patches and merged or fused tokens that leave each pruned block, without masked ones
    tokens: Int[Array | np.ndarray, "b stages"]


def outcome_shapes(setting: PruningConfig | None) -> Outcomes:
    """The shapes and types of the outcomes of one image."""
    struct: Any = jax.ShapeDtypeStruct
    whole, stages = struct((), jnp.int32), (len(setting.blocks) if setting else 0,)
    truth, number = struct((), jnp.bool_), struct((), jnp.float32)
    counts = struct(stages, jnp.int32)
    return Outcomes(whole, truth, truth, number, counts, whole, counts)


def judge(
    logits: Float[Array, "b classes"],
    labels: Int[Array, "b"],
    positions: Sequence[Int[Array, "b _"]],
    on_object: Bool[Array, "b n"] | None,
) -> Outcomes:
    """Returns the outcomes of one batch.

    Args:
        positions: of the patches that leave each pruned block, in the patch grid; below 0 for
            tokens that are no patch.
        on_object: whether each patch lies on the object; None where that is not known.
    """
    _, ranked = jax.lax.top_k(logits, min(5, logits.shape[1]))
    log_likelihood = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
    hits = (ranked == labels[:, None]) & jnp.isfinite(log_likelihood)
    if on_object is None:
        is_on_object = jnp.zeros((len(labels), 1), bool)
    elif positions:
        last = positions[-1]
        is_on_object = jnp.take_along_axis(on_object, jnp.maximum(last, 0), axis=1) & (last >= 0)
    else:
        is_on_object = on_object
    return Outcomes(
        predicted=ranked[:, 0],
        top1=hits[:, 0],
        top5=hits.any(axis=1),
        nll=-log_likelihood[:, 0],
        kept=_counts([each >= 0 for each in positions], len(labels)),
        on_object=jnp.sum(is_on_object, axis=1, dtype=jnp.int32),
        tokens=_counts([each != MASKED for each in positions], len(labels)),
    )


def _counts(stages: Sequence[Bool[Array, "b _"]], images: int) -> Int[Array, "b stages"]:
    counts = [jnp.sum(each, axis=1, dtype=jnp.int32) for each in stages]
    return jnp.stack(counts, axis=1) if counts else jnp.zeros((images, 0), jnp.int32)


def summarize(
    outcomes: Outcomes, plain: Outcomes | None, *, num_patches: int, has_object_masks: bool
) -> dict[str, Any]:
    """Returns the metrics of one setting over the test split, as JSON holds them.

    These are `top1`, `top5`, `num_examples`, mean `nll` (None if not finite) and `mean_kept`
    (patches after each pruned block); with `plain`, the outcomes without pruning, `agreement`: the
    share of images that get the same class; with masks `kept_on_object`: the share of the patches
    left, over all images, that lie on the object.
    """
    number = len(outcomes.top1)
    nll = float(np.mean(outcomes.nll, dtype=np.float64))
    row = {
        "top1": float(np.mean(outcomes.top1)),
        "top5": float(np.mean(outcomes.top5)),
        "num_examples": number,
        "nll": nll if math.isfinite(nll) else None,
        "mean_kept": np.mean(outcomes.kept, axis=0, dtype=np.float64).tolist(),
    }
    if plain is not None:
        row["agreement"] = float(np.mean(outcomes.predicted == plain.predicted))
    if has_object_masks:
        left = outcomes.kept[:, -1].sum() if outcomes.kept.shape[1] else number * num_patches
        row["kept_on_object"] = float(outcomes.on_object.sum() / left)
    return row


Batch = dict[str, Any]
Setting = PruningConfig | None
Read = Callable[..., Any]
"""`(forward, weights, batch, alphas, key)` to a NamedTuple of arrays, one entry for each image."""


class Program(NamedTuple):
    """A compiled step: `run(weights, batch, key)` gives what is read under each setting.

    `peak_memory` is in bytes, weights and batch included; None where XLA does not say.
    """

    run: Callable[[Any, Batch, Any], list[Any]]
    peak_memory: int | None


def evaluate_batch(forward: Forward, weights: Any, batch: Batch, alphas: Any, key: Any) -> Outcomes:
    """The outcomes of one batch, under the pruning of the model."""
    logits, trace = forward(
        weights, batch["image"], alphas, return_trace=True, rngs=nnx.Rngs(pruning=key)
    )
    on_object = None
    if "object_mask" in batch:
        on_object = patches_on_object(batch["object_mask"], forward.spec.patch_size)
    positions = [stage.kept for stage in trace]
    return judge(logits, jnp.asarray(batch["label"]), positions, on_object)


class Programs:
    """The programs of one model, compiled when first asked for; weights are an argument.

    Batches are spread over `mesh`; weights and outcomes lie whole on every device.
    """

    def __init__(
        self, model: VisionTransformer, sizes: Mapping[str, int], read: Read = evaluate_batch
    ):
        self._model, self._read = model, read
        self.mesh = make_mesh(sizes)
        self._compiled: dict[tuple[Setting, ...], Any] = {}

    def get(self, settings: Sequence[Setting], params: Any, batch: Batch, key: Any) -> Program:
        """Returns one program for the settings; the arrays give the shapes.

        Settings of the same blocks share what they compute up to the first cut, and the orders of
        one criterion run as one batch from there. Another order compiles nothing.
        """
        name = tuple(map(program_of, settings))
        programs = list(dict.fromkeys(name))
        alphas = [
            np.stack([_alphas_of(setting) for setting, of in zip(settings, name) if of == program])
            for program in programs
        ]
        if name not in self._compiled:
            self._compiled[name] = self._compile(name, programs, params, batch, alphas, key)
        compiled = self._compiled[name]

        def run(params: Any, batch: Batch, key: Any) -> list[Any]:
            return compiled(params, batch, alphas, key)

        return Program(run, _peak_memory(compiled))

    def _compile(
        self,
        name: tuple[Setting, ...],
        programs: Sequence[Setting],
        params: Any,
        batch: Batch,
        alphas: Sequence[Float[np.ndarray, "_ _"]],
        key: Any,
    ) -> Any:
        forwards = [Forward.of(self._model.with_pruning(program)) for program in programs]
        rows = [name[:place].count(program) for place, program in enumerate(name)]

        def evaluate(params: Any, batch: Batch, alphas: Sequence[Array], key: Any) -> list[Any]:
            read = [
                _of_each(each, lambda order, f=forward: self._read(f, params, batch, order, key))
                for forward, each in zip(forwards, alphas)
            ]
            return [
                jax.tree.map(lambda field, row=row: field[row], read[programs.index(program)])
                for program, row in zip(name, rows)
            ]

        with on_mesh(self.mesh), phase("Compiling an evaluation"):
            step = jax.jit(evaluate, out_shardings=replicated(self.mesh))
            return step.lower(params, batch, alphas, key).compile()


def _of_each(alphas: Array, read: Callable[[Array], Any]) -> Any:
    """What is read under each of the orders, stacked; of one alone without a batch of orders."""
    if len(alphas) > 1:
        return jax.vmap(read)(alphas)
    return jax.tree.map(lambda field: field[None], read(alphas[0]))


def _alphas_of(setting: Setting) -> Float[np.ndarray, "stages"]:
    """One order per pruned block."""
    return np.asarray(setting.per_block("alpha") if setting else (), np.float32)


def _peak_memory(compiled: Any) -> int | None:
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    used = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    return int(used - plan.alias_size_in_bytes)
