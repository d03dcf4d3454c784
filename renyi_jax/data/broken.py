"""Images that cannot be decoded: in training, others take their places while they are few."""

import hashlib
import os
import shutil
import tempfile
import weakref
from typing import Any

import grain
from absl import logging

from renyi_jax.data.dataset import BrokenImageError
from renyi_jax.errors import UserError

MAX_SHARE = 0.01
"""Of the records of a split; with more broken ones, training stops."""


class BrokenImages:
    """The different broken images that one loader met, in whichever of its workers.

    Workers are processes of their own, which share nothing but a folder: an empty file in it stands
    for each broken image.

    Of several processes of a run each counts those in its own rows of the batches, and holds that
    number against the whole split. It cannot be more than the split has, so no run is stopped for
    fewer than `MAX_SHARE`. One with more is stopped later than on one process: each epoch is
    shuffled anew, so a process of P meets another P-th of the split in each, and after a few
    epochs all of it. A resumed run counts anew.
    """

    def __init__(self, num_records: int):
        self._num_records = num_records
        self._folder = tempfile.mkdtemp(prefix="renyi_jax_broken_")
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def __len__(self) -> int:
        return len(os.listdir(self._folder))

    def add(self, error: BrokenImageError) -> None:
        """Counts and logs a broken image, where it is a new one.

        Raises:
          UserError: if it is one too many.
        """
        name = hashlib.sha256(error.record_id.encode()).hexdigest()
        try:
            open(os.path.join(self._folder, name), "x").close()
        except FileExistsError:
            return
        found = len(self)
        logging.warning(
            "%s Another one takes its place in training (broken so far: %d of %d).",
            *(error, found, self._num_records),
        )
        if found > MAX_SHARE * self._num_records:
            raise UserError(
                f"More than {MAX_SHARE:.0%} of the training images are broken: {found} of "
                f"{self._num_records} so far, of which the last: {error} Mend or remove them, and "
                f"prepare the data set anew."
            )


class WholeImages(grain.MapDataset):
    """Replaces each broken image by the next whole one in the order of its epoch.

    So an element is still a function of its position alone, on any number of workers.
    """

    def __init__(self, parent: grain.MapDataset, broken: BrokenImages):
        super().__init__(parent)
        self._broken = broken

    def __len__(self) -> int:
        return len(self._parent)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        length = len(self)
        place = index % length
        for step in range(length):
            try:
                return self._parent[index - place + (place + step) % length]
            except BrokenImageError as error:
                self._broken.add(error)
        raise UserError("All images of the epoch are broken.")
