"""The one attention call of the models."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Float32

from renyi_jax.attention import backend, plain
from renyi_jax.attention.columns import column_sums, of_mean_attention
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
    entropy_of, columns_of, logits = needs.entropy, needs.columns, None
    averages_heads = any(
        each is not None and each.heads == "average_first" for each in (entropy_of, columns_of)
    )
    if needs.logits or sizes is not None or averages_heads:
        attended, logits = plain.attention(query, key, value, sizes)
        entropy = None if entropy_of is None else plain.row_entropy(logits, num_prefix, entropy_of)
    else:
        attended, entropy = _attention_per_shard(query, key, value, num_prefix, entropy_of)
    columns = class_row = None
    if columns_of is not None and columns_of.heads == "average_first":
        assert logits is not None  # held for the average
        columns = of_mean_attention(logits, num_prefix, columns_of)
    elif columns_of is not None:
        batch, length, heads, _ = query.shape
        weights = jnp.ones((batch, heads, length - num_prefix), jnp.float32)
        if columns_of.sharp:
            assert entropy is not None  # asked for beside
            weights = jnp.exp(-entropy)
        columns = _column_sums_per_shard(query, key, num_prefix, columns_of, weights, sizes)
    if needs.class_row and class_token:
        row = plain.attention_logits(query[:, :1], key, sizes) if logits is None else logits
        class_row = jax.nn.softmax(row[:, :, 0], axis=-1)[..., num_prefix:]
    elif needs.class_row:
        class_row = _mean_row(query, key, num_prefix, sizes)
    answers: dict[str, Any] = {
        "entropy": entropy,
        "columns": columns,
        "class_row": class_row,
        "keys": key if needs.keys else None,
        "logits": logits if needs.logits else None,
    }
    return attended, Evidence(num_prefix, **answers)


def _mean_row(query, key, num_prefix, sizes) -> Float32[Array, "b h m"]:
    """What the patches pay to each patch, a mean over those that pay, by their sizes."""
    batch, length, heads, _ = query.shape
    counts = jnp.ones((batch, length)) if sizes is None else sizes
    shares = counts[:, num_prefix:] / counts[:, num_prefix:].sum(axis=1, keepdims=True)
    weights = jnp.broadcast_to(shares[:, None], (batch, heads, length - num_prefix))
    asked = ColumnSums(normalize=False)
    return jnp.exp(_column_sums_per_shard(query, key, num_prefix, asked, weights, sizes))


_AXES = (BATCH_AXES, None, "tensor", None)  # of the mesh, for `b n h d`


def _attention_per_shard(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    value: Float[Array, "b n h d"],
    num_prefix: int,
    entropy_of: RowEntropy | None,
) -> tuple[Float[Array, "b n h d"], Float32[Array, "b h m"] | None]:
    """Runs `backend.attention`, each device for its own part: no compiler splits a kernel."""

    def attention(query, key, value, alpha=None):
        asked = entropy_of if entropy_of is None else entropy_of._replace(alpha=alpha)
        return backend.attention(query, key, value, num_prefix, asked)

    return per_shard(
        attention,
        query,
        key,
        value,
        axes=_AXES,
        results=(
            PartitionSpec(BATCH_AXES, None, "tensor"),
            None if entropy_of is None else PartitionSpec(BATCH_AXES, "tensor"),
        ),
        whole=None if entropy_of is None else jnp.asarray(entropy_of.alpha, jnp.float32),
    )


def _column_sums_per_shard(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n h d"],
    num_prefix: int,
    asked: ColumnSums,
    weights: Float[Array, "b h m"],
    sizes: Float[Array, "b n"] | None,
) -> Float32[Array, "b h m"]:
    """Likewise `backend.column_sums`; tokens that count differently are left to XLA."""
    if sizes is not None:
        return column_sums(query, key, num_prefix, asked, weights, sizes)

    def sums(query, key, weights, power):
        weights = jnp.swapaxes(weights[..., 0], 1, 2)
        return backend.column_sums(query, key, num_prefix, asked._replace(power=power), weights)

    return per_shard(
        sums,
        query,
        key,
        jnp.swapaxes(weights, 1, 2)[..., None],
        axes=_AXES,
        results=PartitionSpec(BATCH_AXES, "tensor"),
        whole=jnp.asarray(asked.power, jnp.float32),
    )
