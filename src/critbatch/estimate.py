"""What a number looks like in critbatch: never bare."""

import math
from dataclasses import dataclass
from typing import Any, Self, final


def short(value: float) -> str:
    """Return a number in three significant digits, from a thousand on as a whole number with separators."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


@final
@dataclass(frozen=True)
class Estimate:
    """A value with its interval, count, unit, method and definition; or the reason why there is none.

    `value` is None when the data cannot carry it; `low` or `high` alone may then still be known (a one-sided bound).
    An open end of the interval is None.

    Raises:
        ValueError: If the value is missing without a reason, or a number is not finite.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    count: int
    unit: str
    method: str
    definition: str
    reason: str | None = None

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = {"value": self.value, "low": self.low, "high": self.high}[name]
            if number is not None and not math.isfinite(number):
                raise ValueError(
                    f"`Estimate({name}={number})`: must be finite. Use None and a reason for what is not known."
                )
        if self.value is None and not self.reason:
            raise ValueError("`Estimate(value=None)`: needs a reason. Say what is missing in `reason=`.")

    @classmethod
    def missing(  # noqa: PLR0913
        cls, reason: str, *, unit: str, definition: str, low: float | None = None, high: float | None = None,
        level: float = 0.95, count: int = 0, method: str = "none",
    ) -> Self:  # fmt: skip
        """Return an estimate without a value that says why, with a one-sided bound where one is known."""
        return cls(None, low, high, level, count, unit, method, definition, reason)

    def scaled(self, factor: float, *, unit: str, definition: str, plus: float = 0.0) -> Self:
        """Return the same knowledge in another unit or under another definition: times `factor` (above 0), plus a constant."""

        def convert(number: float | None) -> float | None:
            return None if number is None else factor * number + plus

        ends = convert(self.value), convert(self.low), convert(self.high)
        return type(self)(*ends, self.level, self.count, unit, self.method, definition, self.reason)

    def brief(self, *, percent: bool = False) -> str:
        """Return value and interval as text; a bound or a dash where there is no value.

        Args:
            percent: Multiply by 100, one decimal.
        """

        def text(value: float) -> str:
            return f"{100 * value:.1f}" if percent else short(value)

        if self.value is None:
            if self.low is not None and self.high is not None:
                return f"between {text(self.low)} and {text(self.high)}"
            if self.low is not None:
                return f"above {text(self.low)}"
            return f"below {text(self.high)}" if self.high is not None else "-"
        if self.low is None and self.high is None:
            return text(self.value)
        low, high = ("open" if end is None else text(end) for end in (self.low, self.high))
        return f"{text(self.value)} [{low}, {high}]"

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as a dictionary of JSON types; `reason` is present only when it is set."""
        document: dict[str, Any] = {
            "value": self.value, "low": self.low, "high": self.high, "level": self.level, "count": self.count,
            "unit": self.unit, "method": self.method, "definition": self.definition,
        }  # fmt: skip
        if self.reason:
            document["reason"] = self.reason
        return document
