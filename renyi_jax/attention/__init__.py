"""How attention is read: one call, `attend`, behind which each backend has its implementation."""

from renyi_jax.attention.attend import attend
from renyi_jax.attention.backend import plain_products
from renyi_jax.attention.evidence import ColumnSums, Evidence, Needs, RowEntropy
from renyi_jax.attention.plain import attention_logits
