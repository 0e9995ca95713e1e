"""Means of an autocorrelated series: how far they may be off, from blocks of neighbours."""

import numpy as np

FEWEST_BLOCKS = 6  # ours: Student's t of fewer is so wide, and their scatter so badly known, that they say nothing


def block_length(values: np.ndarray) -> int:
    """Return the block length that makes the moving-block bootstrap's variance of a mean most accurate.

    Long where the series remembers for long, 1 where it does not remember. Of several series the longest is taken.

    Source: Politis and White (2004), Econometric Reviews 23, 53-70, for blocks of fixed length, with the correction of
    Patton, Politis and White (2009), Econometric Reviews 28, 372-375; their constants.

    Args:
        values: Shape (step, series) or (step,).
    """
    columns = values.reshape(len(values), -1).T
    return max(_length_for(column) for column in columns)


def covering_block_length(values: np.ndarray) -> int:
    """Return the block length for an interval of a mean: longer than the one for its variance.

    The best length for the variance balances bias against scatter; an interval suffers from the bias alone, as scatter
    is paid for by Student's t. So `block_length` is doubled where the series is seen to remember (our choice, by the
    coverage on autoregressive series), and not less than 1.3 sqrt(n), since a memory may go unseen in a short series.

    Source: Lazarus, Lewis, Stock and Watson (2018), Journal of Business and Economic Statistics 36, 541-559, for 1.3
    sqrt(n); Sun, Phillips and Jin (2008), Econometrica 76, 175-194, for why it must be longer.

    Args:
        values: Shape (step, series).
    """
    count = len(values)
    seen = block_length(values)
    return max(2 * seen if seen > 1 else 1, min(int(np.ceil(1.3 * count**0.5)), count // FEWEST_BLOCKS))


def _length_for(values: np.ndarray) -> int:
    count = len(values)
    quiet = max(5, int(np.ceil(np.log10(count))))  # neighbouring lags that must all be small
    farthest = min(int(np.ceil(count**0.5)) + quiet, count - 1)
    middle = values - values.mean()
    covariances = np.array([middle[lag:] @ middle[: count - lag] / count for lag in range(farthest + 1)])
    if covariances[0] <= 0:
        return 1
    loud = np.abs(covariances[1:] / covariances[0]) >= 2 * (np.log10(count) / count) ** 0.5
    silent = [lag for lag in range(len(loud)) if not loud[lag : lag + quiet].any()]
    window = min(2 * (silent[0] if silent else farthest), farthest)
    if window == 0:
        return 1
    lags = np.arange(1, window + 1)
    taper = np.minimum(1.0, 2 * (1 - lags / window))
    slope = 2 * (taper * lags * covariances[1 : window + 1]).sum()
    spectrum = covariances[0] + 2 * (taper * covariances[1 : window + 1]).sum()
    longest = int(np.ceil(min(3 * count**0.5, count / 3)))
    if spectrum <= 0:
        return longest
    best = (1.5 * (slope / spectrum) ** 2 * count) ** (1 / 3)
    return int(np.clip(np.ceil(best), 1, longest))


def mean_covariance(values: np.ndarray, block: int) -> np.ndarray:
    """Return the covariance of the means of several series under the moving-block bootstrap, shape (series, series).

    A mean of resampled blocks is a mean of independent draws from the overlapping blocks' means. Its covariance is
    theirs over the number of blocks, so nothing needs to be drawn. The factor n/(n - block) undoes that the blocks'
    means scatter around the mean of the same series, as n/(n - 1) does for single values, which are blocks of 1.

    Source: Kuensch (1989), Annals of Statistics 17, 1217-1241; the factor is ours.

    Args:
        values: Shape (step, series).
        block: Steps in a block, below the number of steps.

    Raises:
        ValueError: If there are not two blocks.
    """
    count = len(values)
    if not 1 <= block <= count / 2:
        raise ValueError(
            f"`mean_covariance(block={block})`: {count} steps must hold at least two blocks. Take shorter ones, or "
            "measure for longer."
        )
    sums = np.vstack([np.zeros((1, values.shape[1])), np.cumsum(values - values.mean(0), 0)])
    means = (sums[block:] - sums[:-block]) / block
    centred = means - means.mean(0)
    return centred.T @ centred / len(means) * block / count * count / (count - block)
