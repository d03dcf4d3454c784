"""The studies behind docs/results.md: lists of cells, and commands that run what is missing."""
