"""Images that cannot be decoded: while they are few, others take their places."""

from typing import Any

import grain
import numpy as np
from absl import logging

from renyi_jax.data.dataset import BrokenImageError, Records
from renyi_jax.data.workers import Derived, Passed
from renyi_jax.errors import UserError, some

Example = dict[str, Any]

FEW, SHARE = 5, 0.01
"""So many broken images of a split, or this share of it, are passed over; but never half."""

_TOLD = 20  # broken images of a split that are logged one by one


class WholeImages(Derived):
    """Replaces each broken image by the next whole one.

    An element is still a function of its position alone, on any number of workers. Its `broken` is
    the index of the broken record at its position, or -1.
    """

    def element(self, index: int) -> Any:
        length = len(self)
        place, broken = index % length, np.int64(-1)
        for step in range(length):
            try:
                example: Any = self._parent[index - place + (place + step) % length]
            except BrokenImageError as error:
                broken = np.int64(error.index if not step else broken)
            else:
                return {**example, "broken": broken}
        raise UserError("All images are broken.")


class CountedBroken(Passed):
    """Batches without `broken`, of which it logs and counts what is new; too many raise a
    UserError.

    It counts as batches are taken, not as workers meet them, so that the end is a function of the
    position alone. The loaders of one split count together, those of other processes do not.
    """

    def __init__(self, batches: grain.DatasetIterator, records: Records, instead: str):
        """Counts indices of `records`; `instead` says what happens to a broken image."""
        super().__init__(batches)
        self._records, self._instead = records, instead
        self._limit = min(max(FEW, int(SHARE * len(records))), len(records) // 2)
        self._is_new = False

    def __next__(self) -> dict[str, np.ndarray]:
        try:
            batch = dict(next(self._parent))
        except StopIteration:
            if self._is_new:
                logging.warning("%s", self._summary())
            raise
        for index in batch.pop("broken").tolist():
            if index >= 0 and index not in self._records.broken:
                self._add(index)
        return batch

    def _add(self, index: int) -> None:
        try:
            self._records.picture(index)
            return  # a file that was being written, or a disk that has come back
        except BrokenImageError as error:
            self._is_new = True
            self._records.broken[index] = error.record_id
            if len(self._records.broken) <= _TOLD:
                logging.warning("%s %s", error, self._instead)
        if len(self._records.broken) > self._limit:
            raise UserError(
                f"{self._summary()} At most {self._limit} are passed over: mend or remove them."
            )

    def _summary(self) -> str:
        names = list(self._records.broken.values())
        return (
            f"{len(names)} of {len(self._records)} images cannot be decoded: {some(names, _TOLD)}."
        )
