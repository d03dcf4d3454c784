"""Errors that are the user's to mend."""

import difflib
import itertools
from collections.abc import Collection, Iterable


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


def check_known(what: str, name: str, known: Collection[str]) -> None:
    """Raises UserError for a name that is not one of those known, with the nearest of them."""
    if name not in known:
        listed = ", ".join(known) or "none"
        raise UserError(f"Unknown {what} {name!r}; known: {listed}.{nearest(name, known)}")


def some(names: Collection[str], shown: int = 5) -> str:
    """Returns the first `shown` names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(itertools.islice(names, shown)) + more
