"""One attention call: the attended values, and what a criterion reads of the logits."""

from renyi_jax.attention.call import RowEntropy, attention
from renyi_jax.attention.plain import Score, attention_logits, whole_logits

__all__ = ["RowEntropy", "Score", "attention", "attention_logits", "whole_logits"]
