"""The one attention call of the models."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Float32

from renyi_jax.attention import backend, plain
from renyi_jax.attention.columns import of_logits, row_weights
from renyi_jax.attention.evidence import ColumnSums, Evidence, Needs, RowEntropy
from renyi_jax.parallel import BATCH_AXES, per_shard


def attend(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    value: Float[Array, "b n h d"],
    num_prefix: int,
    needs: Needs = Needs(),
    sizes: Float[Array, "b n"] | None = None,
    class_token: bool = True,
) -> tuple[Float[Array, "b n h d"], Evidence]:
    """Scaled dot-product attention (Vaswani et al. 2017, equation 1), and evidence of it.

    Args:
        query: queries of `h` heads, each of width `d`.
        value: values; the output has their dtype.
        needs: what the evidence is to have. Logits, sizes, and an average over heads first make the
            attention matrix be held; with many tokens nothing else does.
        sizes: how many tokens each key stands for, as in `plain.attention_logits`.
        class_token: whether the first token is one.

    Returns:
        The attended values, and the evidence. The softmax and all evidence are computed in float32,
        whatever the dtype of the operands.
    """
    entropy_of, columns_of = needs.entropy, needs.columns
    averages_heads = any(
        each is not None and each.heads == "average_first" for each in (entropy_of, columns_of)
    )
    logits, sums = None, []
    if needs.logits or sizes is not None or averages_heads:
        attended, logits = plain.attention(query, key, value, sizes)
        entropy, columns = _of_logits(logits, num_prefix, needs)
    else:
        # What patches pay on average takes the place of the row of a class token.
        mean_row = ColumnSums(normalize=False) if needs.class_row and not class_token else None
        asked = [each for each in (columns_of, mean_row) if each is not None]
        attended, entropy, sums = _per_shard(query, key, value, num_prefix, entropy_of, asked)
        columns = sums[0] if columns_of is not None else None
    class_row = None
    if needs.class_row and class_token:
        row = plain.attention_logits(query[:, :1], key, sizes) if logits is None else logits
        class_row = jax.nn.softmax(row[:, :, 0], axis=-1)[..., num_prefix:]
    elif needs.class_row:
        if logits is None:
            class_row = jnp.exp(sums[-1]) / (query.shape[1] - num_prefix)
        else:
            class_row = _mean_row(logits, num_prefix, sizes)
    answers: dict[str, Any] = {
        "entropy": entropy,
        "columns": columns,
        "class_row": class_row,
        "keys": key if needs.keys else None,
        "logits": logits if needs.logits else None,
    }
    return attended, Evidence(num_prefix, **answers)


def _of_logits(
    logits: Float32[Array, "b h n n"], num_prefix: int, needs: Needs
) -> tuple[Float32[Array, "b heads m"] | None, Float32[Array, "b heads m"] | None]:
    """The entropy of the patches' rows and the sums of their columns, as far as asked for."""
    entropy = columns = None
    if needs.entropy is not None:
        entropy = plain.row_entropy(logits, num_prefix, needs.entropy)
    if needs.columns is not None:
        averages = needs.columns.heads == "average_first"
        rows = logits[:, : 1 if averages else logits.shape[1], num_prefix:, 0]
        weights = row_weights(needs.columns, entropy, rows)
        columns = of_logits(logits, num_prefix, needs.columns, weights)
    return entropy, columns


def _mean_row(
    logits: Float32[Array, "b h n n"], num_prefix: int, sizes: Float[Array, "b n"] | None
) -> Float32[Array, "b h m"]:
    """What the patches pay to each patch, a mean over those that pay, by their sizes."""
    paid = jax.nn.softmax(logits[:, :, num_prefix:], axis=-1)[..., num_prefix:]
    counts = jnp.ones(logits.shape[::3]) if sizes is None else sizes
    shares = counts[:, num_prefix:] / counts[:, num_prefix:].sum(axis=1, keepdims=True)
    return jnp.einsum("bi,bhij->bhj", shares, paid)


def _per_shard(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    value: Float[Array, "b n h d"],
    num_prefix: int,
    entropy_of: RowEntropy | None,
    asked: Sequence[ColumnSums],
) -> tuple[Float[Array, "b n h d"], Float32[Array, "b h m"] | None, list[Float32[Array, "b h m"]]]:
    """`backend.attention_and_columns`, each device for its part: no compiler splits a kernel."""

    def attention(query, key, value, orders):
        alpha, powers = orders
        of_rows = None if entropy_of is None else entropy_of._replace(alpha=alpha)
        sums = [each._replace(power=power) for each, power in zip(asked, powers)]
        return backend.attention_and_columns(query, key, value, num_prefix, of_rows, sums)

    alpha = None if entropy_of is None else jnp.asarray(entropy_of.alpha, jnp.float32)
    by_heads = PartitionSpec(BATCH_AXES, "tensor")
    return per_shard(
        attention,
        query,
        key,
        value,
        axes=(BATCH_AXES, None, "tensor", None),
        results=(
            PartitionSpec(BATCH_AXES, None, "tensor"),
            None if entropy_of is None else by_heads,
            [by_heads] * len(asked),
        ),
        whole=(alpha, [jnp.asarray(each.power, jnp.float32) for each in asked]),
    )
