"""Change points: planted ones are found, twins search every place, and chance alone is found as often as it says."""

import numpy as np
import pytest

from critbatch.statistics.change_point import broken_line, mean_change


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def naive_mean(series: np.ndarray, fewest: int) -> tuple[float, int]:
    """Return the largest F over places, and its place, from sums of squares."""
    found = []
    whole = ((series - series.mean()) ** 2).sum()
    for place in range(fewest, len(series) - fewest + 1):
        parts = series[:place], series[place:]
        left = sum(((part - part.mean()) ** 2).sum() for part in parts)
        found.append(((whole - left) / (left / (len(series) - 2)), place))
    return max(found)


def naive_line(x: np.ndarray, y: np.ndarray, fewest: int) -> tuple[float, int, np.ndarray]:
    """Return the smallest sum of squares of a line broken at a point, the place and the slopes."""
    found = []
    for place in range(fewest, len(x) - fewest):
        columns = [np.ones(len(x)), np.minimum(x - x[place], 0), np.maximum(x - x[place], 0)]
        inverse = np.linalg.pinv(np.stack(columns, 1))
        slopes = inverse @ y
        found.append((((y - np.stack(columns, 1) @ slopes) ** 2).sum(), place, slopes[1:]))
    return min(found, key=lambda one: one[0])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fewest", [1, 5])
def test_a_change_of_mean_is_the_one_of_a_search(seed, fewest):
    series = generator(seed).normal(size=30) + (seed > 1) * (np.arange(30) < 11)
    found = mean_change(series, generator=generator(9), fewest=fewest)
    statistic, place = naive_mean(series, fewest)
    assert found.place == place
    assert found.drop == pytest.approx(series[:place].mean() - series[place:].mean(), rel=1e-12)
    draws = [naive_mean(generator(100 + draw).permutation(series), fewest)[0] for draw in range(150)]
    share = (1 + sum(draw >= statistic for draw in draws)) / 151
    alone = mean_change(series, generator=None, fewest=fewest)
    assert (alone.place, alone.before, alone.after) == (found.place, found.before, found.after)
    assert np.isnan(alone.p_value)
    assert found.p_value == pytest.approx(share, abs=0.17)  # 4 standard errors of 150 draws at worst


@pytest.mark.parametrize("seed", range(4))
def test_a_broken_line_is_the_one_of_a_search(seed):
    x = np.sort(generator(seed).uniform(0, 5, 30))
    y = generator(seed + 50).normal(size=30) - (seed > 1) * 2 * np.maximum(x - 3, 0)
    found = broken_line(x, y, generator=generator(9))
    _, place, slopes = naive_line(x, y, 3)
    assert found.place == place
    assert (found.before, found.after) == pytest.approx(tuple(slopes), rel=1e-8)
    assert found.drop == pytest.approx(slopes[1] * (x[place] - x[-1]), rel=1e-8)


def test_a_planted_drop_of_ten_is_found():
    series = np.where(np.arange(60) < 25, 0.0, -1.0) + 0.2 * generator(1).normal(size=60)  # log10 of a ratio
    found = mean_change(series, generator=generator(2))
    assert abs(found.place - 25) <= 1
    assert found.drop == pytest.approx(1, abs=0.22)  # 4 standard errors of 0.2 sqrt(1/25 + 1/35)
    assert found.p_value == 0.001
    rising = mean_change(series[::-1], generator=generator(2))
    assert (rising.place, rising.drop) == pytest.approx((60 - found.place, -found.drop))


def test_a_planted_break_of_two_powers_is_found():
    steps = np.arange(40)
    truth = np.where(steps < 22, 0.1 * (steps - 22), -0.5 * (steps - 22))
    found = broken_line(steps, truth + 0.1 * generator(3).normal(size=40), generator=generator(4))
    assert abs(found.place - 22) <= 1
    assert found.before == pytest.approx(0.1, abs=0.02)
    assert found.after == pytest.approx(-0.5, abs=0.02)
    assert found.drop == pytest.approx(8.5, abs=0.8)
    assert found.p_value == 0.001
    exact = broken_line(steps, truth, generator=generator(4))
    assert (exact.place, exact.before, exact.after, exact.drop) == pytest.approx((22, 0.1, -0.5, 8.5))


@pytest.mark.parametrize(("kind", "count", "series"), [("mean", 24, 200), ("line", 24, 200), ("line", 6, 400)])
def test_chance_alone_is_taken_for_a_change_as_often_as_the_level_says(kind, count, series):
    draw, x = generator(5), np.arange(float(count))
    errors = draw.exponential(size=(series, count))  # skewed: no normal theory behind it
    if kind == "mean":
        found = [mean_change(one, generator=draw).p_value for one in errors]
    else:
        found = [broken_line(x, one - 3 * x, generator=draw, fewest=min(3, count // 6)).p_value for one in errors]
    # 10%, standard error 2.1% and 1.5%; residuals of six points that are not fitted again make 19%
    assert 0.03 < np.mean(np.array(found) <= 0.1) < (0.18 if series == 200 else 0.16)
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)


def test_what_a_model_without_change_explains_has_none():
    assert mean_change(np.full(20, 7.3), generator=generator()).p_value == 1
    assert mean_change(np.zeros(20), generator=generator()).drop == 0
    x = np.linspace(0, 1, 20)
    assert broken_line(x, 3 - 7 * x, generator=generator()).p_value == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_change(np.arange(7.0), generator=generator()), "needs 8 finite ones.*got 7"),
        (lambda: mean_change(np.arange(7.0), generator=generator(), fewest=0), "at least 1 on either side"),
        (lambda: mean_change(np.array([np.nan] * 9), generator=generator()), "9 of them not finite"),
        (lambda: broken_line(np.arange(8), np.arange(9.0), generator=generator()), "8 positions for 9 values"),
        (lambda: broken_line(np.zeros(9), np.arange(9.0), generator=generator()), "each above the one before"),
    ],
)
def test_what_cannot_change_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
