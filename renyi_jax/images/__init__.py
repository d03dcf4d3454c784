"""Images from files, bytes and arrays to what a model takes: found, decoded and cropped.

Training, evaluation and prediction all read by these functions.
"""

from renyi_jax.images.crop import INTERPOLATIONS, Size, center_crop, crop_picture
from renyi_jax.images.files import find_image_files, find_pictures, printable, short_name
from renyi_jax.images.reading import Source, decode, read_picture
