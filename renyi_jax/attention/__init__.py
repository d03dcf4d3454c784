"""One attention call: the attended values, and what a criterion reads of the logits."""

from renyi_jax.attention.plain import Score, attention, attention_logits

__all__ = ["Score", "attention", "attention_logits"]
