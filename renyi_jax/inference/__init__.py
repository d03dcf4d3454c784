"""A trained model at work: images to classes, and the artifact that runs without this package."""

from renyi_jax.images import crop_picture, find_pictures, read_picture
from renyi_jax.inference.artifact import describe, describe_artifact, export_model
from renyi_jax.inference.classify import Classifier, Prediction, read_class_names
