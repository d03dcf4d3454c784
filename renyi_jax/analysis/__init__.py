"""What a pruned model does, drawn: curves, heat maps, and the page that shows them."""

from renyi_jax.analysis.report import write_report

__all__ = ["write_report"]
