"""The one attention call of the models."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Float32

from renyi_jax.attention import backend, plain
from renyi_jax.attention.evidence import Evidence, Needs, RowEntropy
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
        key: keys.
        value: values; the output has their dtype.
        num_prefix: tokens before the patches.
        needs: what the evidence is to have. Logits, sizes, an entropy of averaged heads, and a row
            of the class token where there is none make the attention matrix be held; with many
            tokens nothing else does.
        sizes: how many tokens each key stands for, as in `plain.attention_logits`.
        class_token: whether the first token is one.

    Returns:
        The attended values, and the evidence. The softmax and all evidence are computed in float32,
        whatever the dtype of the operands.
    """
    entropy_of, logits = needs.entropy, None
    averages_heads = entropy_of is not None and entropy_of.heads == "average_first"
    averages_rows = needs.class_row and not class_token
    if needs.logits or sizes is not None or averages_heads or averages_rows:
        attended, logits = plain.attention(query, key, value, sizes)
        entropy = None if entropy_of is None else plain.row_entropy(logits, num_prefix, entropy_of)
    else:
        attended, entropy = _attention_per_shard(query, key, value, num_prefix, entropy_of)
    class_row = None
    if averages_rows and logits is not None:
        class_row = plain.mean_row(logits, num_prefix, sizes)
    elif needs.class_row:
        row = plain.attention_logits(query[:, :1], key, sizes) if logits is None else logits
        class_row = jax.nn.softmax(row[:, :, 0], axis=-1)[..., num_prefix:]
    answers: dict[str, Any] = {
        "entropy": entropy,
        "class_row": class_row,
        "keys": key if needs.keys else None,
        "logits": logits if needs.logits else None,
    }
    return attended, Evidence(num_prefix, **answers)


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
        axes=(BATCH_AXES, None, "tensor", None),
        results=(
            PartitionSpec(BATCH_AXES, None, "tensor"),
            None if entropy_of is None else PartitionSpec(BATCH_AXES, "tensor"),
        ),
        whole=None if entropy_of is None else jnp.asarray(entropy_of.alpha, jnp.float32),
    )
