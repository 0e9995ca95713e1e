"""Every number that is called "critical batch size", side by side, and the regimes that one of them implies."""

from ..curve import Fit
from ..estimate import Estimate
from ..finding import CriticalBatchSize, JointFit, NoisePoint, Regime

CLOSE = 0.2  # within 20% of the limit: where a regime begins or ends
OVERHEADS = (0.1, 0.2, 0.5)


def definitions(
    fit: Fit | None, joint: JointFit | None, noise: tuple[NoisePoint, ...]
) -> tuple[CriticalBatchSize, ...]:  # fmt: skip
    """Return all definitions that the data can serve, each with its estimate and how it follows from E_min/S_min.

    Sources: McCandlish et al. (2018), arXiv:1812.06162; Zhang et al. (2024), arXiv:2410.21676; Shallue et al. (2019),
    arXiv:1811.03600 (perfect scaling).
    """
    found = []
    if fit is not None:
        critical = fit.critical_batch_size
        found = [
            CriticalBatchSize("E_min/S_min", critical, "itself"),
            CriticalBatchSize(
                "20 % overhead (Zhang et al.)", fit.critical_batch_size_20pct, "0.2 E_min/S_min + 1.2 B_ref"
            ),
        ]
        for share in OVERHEADS:
            words = f"largest batch that needs at most {100 * share:.0f} % more examples than the smallest ones"
            scaled = critical.scaled(share, unit="examples", definition=f"{words}, from the fitted hyperbola")
            found.append(
                CriticalBatchSize(f"within {100 * share:.0f} % of perfect scaling", scaled, f"{share:g} E_min/S_min")
            )
    if joint is not None:
        found.append(
            CriticalBatchSize("E_min/S_min, all runs in one surface", joint.critical_batch_size, "another fit")
        )
    known = [point for point in noise if point.noise_scale.value is not None]
    for place, point in zip(("first", "last"), known[:1] + known[1:][-1:], strict=False):
        name = f"gradient noise scale, {place} look (step {point.step:,})"
        found.append(CriticalBatchSize(name, point.noise_scale, "a proxy: equal only where curvature and noise align"))
    return tuple(found)


def regimes(fit: Fit | None) -> tuple[Regime, ...]:
    """Return the three regimes of S(B) with the intervals of their boundaries; nothing where there is no critical size.

    Perfect scaling ends where 20% more examples are needed than with the smallest batches; maximal data parallelism
    begins where 20% more steps are needed than with the largest ones.

    Source: the names are Shallue et al.'s (2019), arXiv:1811.03600, Section 4.1; the 20% are ours.
    """
    if fit is None or fit.critical_batch_size.value is None:
        return ()
    critical = fit.critical_batch_size

    def boundary(factor: float, words: str) -> Estimate:
        return critical.scaled(factor, unit="examples", definition=f"{words}: {factor:g} E_min/S_min")

    first = boundary(CLOSE, f"{100 * CLOSE:.0f} % more examples than the fewest")
    last = boundary(1 / CLOSE, f"{100 * CLOSE:.0f} % more steps than the fewest")
    return (
        Regime("perfect scaling", None, first, "doubling the batch halves the steps"),
        Regime("diminishing returns", first, last, "doubling the batch saves less than half of the steps"),
        Regime("maximal data parallelism", last, None, "doubling the batch saves nothing"),
    )


def regime_of(batch_size: int, known: tuple[Regime, ...]) -> str | None:
    """Return the name of the regime that holds a batch size, "boundary" where intervals leave it open, or None."""
    if not known:
        return None
    for one in known:
        above = one.low is None or (one.low.high is not None and batch_size >= one.low.high)
        below = one.high is None or (one.high.low is not None and batch_size <= one.high.low)
        if above and below:
            return one.name
    return "boundary"
