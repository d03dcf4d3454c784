"""The largest batch that fits."""

from collections.abc import Callable


def largest_fitting(fits: Callable[[int], bool], too_large: int, step: int) -> int:
    """The largest multiple of `step` below `too_large` for which `fits` holds; 0 if there is none.

    Asks as seldom as bisection does, so it takes for granted that what fits still fits when it is
    smaller.
    """
    low, high = 0, -(-too_large // step)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle * step):
            low = middle
        else:
            high = middle
    return low * step
