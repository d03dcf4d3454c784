"""A model as an ONNX file, converted by jax2onnx."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Jaxpr, Literal
from jaxtyping import Array, Float

from renyi_jax.attention import plain_products
from renyi_jax.common.extras import needs
from renyi_jax.common.files import json_text
from renyi_jax.common.onnx_runtime import OnnxFile
from renyi_jax.errors import UserError
from renyi_jax.inference.artifact import Program, describe_program, deviation, program
from renyi_jax.models import VisionTransformer

PACKAGES = ("jax2onnx", "onnxruntime")


def export_onnx(
    model: VisionTransformer,
    *,
    alpha_input: bool = False,
    input_dtype: str = "float32",
    trace: bool = False,
    class_names: Sequence[str] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Converts the model (options as in `artifact.program`), runs it in ONNX Runtime, and compares.

    Returns an `onnx.ModelProto` that takes any batch size, and its description, which is also in
    its `metadata_props`, each value as JSON. "deviation" of it is that of batches of 1 and 3.

    Raises UserError: jax2onnx or onnxruntime is not installed, or cannot take the model: one in
    bfloat16, or one that draws its scores; and as `artifact.program`.
    """
    needs("onnx", *PACKAGES)
    for stage in model.pruning.stages if model.pruning else ():
        if stage.needs().draws:
            raise UserError(
                f"Criterion {str(stage.criterion)!r} draws its scores, and ONNX has no random"
                " numbers like those of JAX."
            )
    if model.dtype != jnp.float32:
        raise UserError("An ONNX file computes in float32: leave out --dtype=bfloat16.")
    source = program(model, alpha_input=alpha_input, input_dtype=input_dtype, trace=trace)
    converted = _convert(source)
    run = OnnxFile(converted.SerializeToString())
    description = {
        **describe_program(model, source.inputs, source.outputs, class_names),
        "deviation": deviation(model, lambda *arrays: run(*arrays)[0], source.inputs.values()),
        "opset": converted.opset_import[0].version,
        "needs": ["onnxruntime"],
    }
    for key, value in description.items():
        converted.metadata_props.add(key=key, value=json_text(value))
    return converted, description


def _convert(source: Program) -> Any:
    import jax2onnx

    shapes = list(source.inputs.values())
    # Traced before jax2onnx sees it, which would put functions of its own in the place of Flax's;
    # and without nested functions, for which it looks in places that JAX has left.
    with plain_products(), jax.disable_jit():
        traced = jax.make_jaxpr(lambda *arrays: tuple(source.call(*arrays).values()))(*shapes)
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # of values without a type, which it leaves out
    try:
        return jax2onnx.to_onnx(
            lambda *arrays: tuple(_evaluate(traced.jaxpr, traced.consts, arrays)),
            inputs=shapes,
            model_name="renyi_jax",
            input_names=list(source.inputs),
            output_names=list(source.outputs),
        )
    except Exception as error:  # of many classes
        raise UserError(f"jax2onnx cannot convert the model: {error}") from error
    finally:
        logging.disable(disabled)


def _expm1(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    larger = lax.exp(x)
    precise = (larger - 1) * x / lax.log(larger)
    return lax.select(larger == 1, x, lax.select(larger == 0, lax.full_like(x, -1), precise))


def _log1p(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    above = 1 + x
    return lax.select(above == 1, x, lax.log(above) * x / (above - 1))


def _rem(x: Any, y: Any) -> Array:
    return x - y * lax.div(x, y)


_PRECISE: dict[str, Callable[..., Array]] = {"expm1": _expm1, "log1p": _log1p, "rem": _rem}
"""What ONNX has no operator for, with the digits that `exp(x) - 1` and `log(1 + x)` lose, which
are all that an entropy of an order near 1 has (Higham 2002, section 1.14); and the remainder of
integers, of which jax2onnx asks a constant batch."""


def _evaluate(jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """Runs a traced program, its inner calls inlined, and `_PRECISE` in the place of primitives."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments)))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in jaxpr.eqns:
        inputs = [read(variable) for variable in equation.invars]
        called = equation.params.get("call_jaxpr")
        if called is not None:
            outputs = _evaluate(called.jaxpr, called.consts, inputs)
        elif equation.primitive.name in _PRECISE:
            outputs = [_PRECISE[equation.primitive.name](*inputs)]
        else:
            outputs = equation.primitive.bind(*inputs, **equation.params)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        values.update(zip(equation.outvars, outputs))
    return [read(variable) for variable in jaxpr.outvars]
