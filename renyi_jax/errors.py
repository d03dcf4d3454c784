"""Errors that are the user's to mend."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user gave: its message says what, where, and what was expected.

    Commands print the message on standard error and end with exit status 2, without a traceback.
    """


def nearest(name: str, names: Iterable[str]) -> str:
    """` Did you mean 'x'?` with the entry of `names` closest to `name`, or `""` if none is close.

    Starts with a space, so that it can be appended to any sentence.
    """
    spelled = {known.lower(): known for known in names}
    matches = difflib.get_close_matches(name.lower(), spelled, n=1)
    return f" Did you mean '{spelled[matches[0]]}'?" if matches else ""
