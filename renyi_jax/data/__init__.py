"""Data sets (TFDS builders) and the Grain pipeline that feeds training and evaluation."""
