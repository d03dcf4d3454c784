"""The largest batch that fits."""

import math
from collections.abc import Callable

Point = tuple[int | float, int | float]


def largest_fitting(
    needs: Callable[[int], int | float],
    limit: int | float,
    too_large: int,
    step: int,
    needed: int | float = math.inf,
) -> int:
    """Returns the largest multiple of `step` below `too_large` that needs at most `limit`; 0 if
    none.

    Memory is nearly linear in the batch: it tries where the line through the last two measurements
    meets the limit, and halves the range where lines fail.

    Args:
        needs: bytes of a batch, which never fall as it grows; inf where unknown and too many. Each
            call compiles a program.
        needed: bytes of `too_large`, as far as they are known.
    """
    low, high = 0, -(-too_large // step)  # the largest that fits, and the smallest that does not
    points: list[Point] = [(0, 0), (too_large / step, needed)]
    slow = 0  # lines in a row that did not halve the range
    while high - low > 1:
        guess = _crossing(points[-2], points[-1], limit) if slow < 2 else None
        guess = (low + high) // 2 if guess is None else min(max(guess, low + 1), high - 1)
        width = high - low
        needed = needs(guess * step)
        points.append((guess, needed))
        if needed <= limit:
            low = guess
        else:
            high = guess
        slow = 0 if high - low <= (width + 1) / 2 else slow + 1
    return low * step


def _crossing(one: Point, other: Point, limit: int | float) -> int | None:
    """Where the line through two points reaches the limit; None where there is no such line."""
    (x0, y0), (x1, y1) = one, other
    if not (math.isfinite(y0) and math.isfinite(y1)) or y0 == y1:
        return None
    return math.floor(x0 + (limit - y0) * (x1 - x0) / (y1 - y0))
