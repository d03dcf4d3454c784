"""Cuts the shipped part of Fashion-MNIST out of its published files.

    python tools/make_embedded_fashion_mnist.py --data=DIR

DIR holds the four files of https://github.com/zalandoresearch/fashion-mnist. Of each class the
first 600 training and the first 100 test images are taken, in their published order.
"""

import numpy as np
from absl import flags
from etils import epath

from renyi_jax.cli import commands
from renyi_jax.data import fashion_mnist

_DATA = flags.DEFINE_string("data", None, "Folder of the published files.", required=True)
_PER_CLASS = {"train": 600, "test": 100}


def main() -> None:
    source, target = epath.Path(_DATA.value), fashion_mnist.embedded_dir()
    for split, per_class in _PER_CLASS.items():
        names = fashion_mnist.FILES[split]
        images, labels = fashion_mnist.read_split(*(source / name for name in names))
        classes = range(len(fashion_mnist.CLASS_NAMES))
        chosen = np.sort(np.concatenate([np.flatnonzero(labels == c)[:per_class] for c in classes]))
        for name, array in zip(names, (images[chosen], labels[chosen]), strict=True):
            fashion_mnist.write_idx(target / name, array)


if __name__ == "__main__":
    commands.run(main)
