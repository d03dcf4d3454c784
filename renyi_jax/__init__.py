"""Entropy-based patch pruning for Vision Transformers in JAX."""
