"""What a pruned model does, drawn: curves, heat maps, and the page that shows them."""
