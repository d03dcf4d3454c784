"""The flag --image of the commands that take images."""

import os
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from renyi_jax.common.files import local_path
from renyi_jax.errors import UserError
from renyi_jax.inference import find_pictures

flags.disclaim_key_flags()  # the --help of the command that imports this file lists them


def define_images() -> flags.FlagHolder:
    """The flag --image, whose values `find_images` reads; wants `parse_images`."""
    return flags.DEFINE_multi_string(
        "image", [], "An image, or a folder of images; several, if it is repeated."
    )


def parse_images(argv: Sequence[str]) -> list[str]:
    """Parses a command line whose arguments that are no flags are images too."""
    program, *more = flags.FLAGS(argv)
    images = flags.FLAGS["image"]
    images.value = [*(images.value or ()), *more]
    return [program]


def find_images(sources: Sequence[str]) -> tuple[list[Path], list[UserError]]:
    """Returns the files that the values of --image stand for, and why others stand for none."""
    if not sources:
        raise UserError("No image is given: --image=FILE, or a folder; several may follow.")
    parts = []
    for source in sources:
        several = "," in source and not os.path.exists(source)
        parts += source.split(",") if several else [source]
    files, refused = [], []
    for path in [local_path("--image", part) for part in parts]:
        try:
            files += find_pictures(path)
        except UserError as error:
            refused.append(error)
    return files, refused


def tell_refused(refused: Sequence[UserError], count: int) -> None:
    """Raises one `UserError` for all images that were refused, of `count` in all."""
    if len(refused) == 1 == count:
        raise refused[0]
    if refused:
        lines = "".join(f"\n  {error}" for error in refused)
        raise UserError(f"{len(refused)} of {count} images could not be read:{lines}")
