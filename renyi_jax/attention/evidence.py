"""What a criterion or a reducer may ask of an attention call, and what the call answers."""

from typing import Any, NamedTuple

from jaxtyping import Array, Float, Float32

_ABSENT: Any = None


class RowEntropy(NamedTuple):
    """Which Rényi entropy of the attention that each patch pays, as in
    `entropy.attention_entropy`.
    """

    alpha: float | Float[Array, ""]
    normalize: bool = True
    heads: str = "mean"
    prefix_keys: bool = False


class ColumnSums(NamedTuple):
    """Which sums of what a patch receives: `sum_i w_i a_ij^power`, over the rows of patches."""

    power: float | Float[Array, ""] = 1.0  # of the attention, above 0; may be traced
    normalize: bool = True  # renormalise each row over the patch keys
    heads: str = "mean"  # "mean" for sums per head, "average_first" for those of the mean attention
    sharp: bool = False  # weigh a row by `exp(-H)`, the entropy asked for beside, and not by one


class Needs(NamedTuple):
    """The fields of `Evidence` that are asked for."""

    entropy: RowEntropy | None = None
    columns: ColumnSums | None = None
    class_row: bool = False
    keys: bool = False
    logits: bool = False
    draws: bool = False

    def union(self, other: "Needs") -> "Needs":
        """Returns what either asks for."""
        wanted: Any = [one or another for one, another in zip(self, other)]
        return Needs(*wanted)


class Evidence(NamedTuple):
    """What the attention of a block tells of `m` patches among `n` tokens; None if not asked."""

    num_prefix: int  # tokens before the patches, `n - m`
    # of each patch's row, in nats; one head where heads were averaged first
    entropy: Float32[Array, "b h m"] = _ABSENT
    # logarithms of the sums of each patch's column, likewise
    columns: Float32[Array, "b h m"] = _ABSENT
    # attention that the class token pays to the patches, of a softmax over all keys; without a
    # class token what the patches pay to each, a mean over those that pay
    class_row: Float32[Array, "b h m"] = _ABSENT
    keys: Float[Array, "b n h d"] = _ABSENT  # of the attention
    logits: Float32[Array, "b h n n"] = _ABSENT  # the scaled attention logits
    draws: Float[Array, "b m"] = _ABSENT  # uniform numbers, which the model draws beforehand
