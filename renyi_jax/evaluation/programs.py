"""The compiled evaluation steps: of one pruning, or of several that share what they compute."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from renyi_jax.common.progress import phase
from renyi_jax.evaluation.metrics import Outcomes, judge
from renyi_jax.models import Forward, VisionTransformer, patches_on_object
from renyi_jax.parallel import make_mesh, on_mesh, replicated
from renyi_jax.pruning import PruningConfig
from renyi_jax.pruning.sweep import program_of

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
    return int(
        plan.argument_size_in_bytes
        + plan.output_size_in_bytes
        + plan.temp_size_in_bytes
        - plan.alias_size_in_bytes
    )
