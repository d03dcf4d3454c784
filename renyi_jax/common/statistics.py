"""Which differences are real: intervals by bootstrap, and paired tests.

Values are arrays `[runs, images]`: one run for each checkpoint or seed, all on the same images.
"""

from collections.abc import Sequence

import numpy as np
import scipy.stats
from jaxtyping import Float, Shaped

RESAMPLES = 2000


def interval(
    values: Shaped[np.ndarray, "runs images"], level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Returns the bootstrap percentile interval of the mean over runs and images.

    Both are drawn with replacement: other test images and other trainings.
    """
    rng = np.random.default_rng(seed)
    runs, images = values.shape
    # Images that fared alike in every run are drawn together: there are few kinds of them.
    kinds, counts = np.unique(values, axis=1, return_counts=True)
    drawn_images = rng.multinomial(images, counts / images, RESAMPLES)
    drawn_runs = rng.integers(0, runs, (RESAMPLES, runs))
    run_means = drawn_images @ kinds.T / images
    means = np.take_along_axis(run_means, drawn_runs, axis=1).mean(axis=1)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def paired_p_value(
    right: Shaped[np.ndarray, "runs images"],
    baseline: Shaped[np.ndarray, "runs images"],
    seed: int = 0,
) -> float:
    """Returns the two-sided p-value of a difference between two methods on the same images.

    For one run, McNemar's exact test; for several, a permutation test that swaps the methods image
    by image for all runs at once, and speaks of these runs.
    """
    difference = (right.astype(np.float64) - baseline).mean(axis=0)
    unequal = difference[difference != 0]
    if len(unequal) < 2:
        return 1.0
    if len(right) == 1:
        return float(scipy.stats.binomtest(int((unequal > 0).sum()), len(unequal)).pvalue)
    test = scipy.stats.permutation_test(
        (unequal,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        batch=100,
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def holm(p_values: Sequence[float]) -> Float[np.ndarray, "tests"]:
    """The p-values corrected for their number (Holm 1979), which keeps the chance of any false
    claim among all of them below the level that each is held against."""
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    stepped = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    corrected = np.empty_like(stepped)
    corrected[order] = stepped
    return corrected
