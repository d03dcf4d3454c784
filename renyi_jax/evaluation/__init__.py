"""What a trained model is worth under this pruning and others, without training again."""
