"""Which of several formulas the data prefer, by what they leave unexplained and how many numbers they fit."""

import math


def aicc(squares: float, count: int, parameters: int) -> float:
    """Return Akaike's criterion for normal errors of unknown spread, corrected for few data; lower is better.

    Infinite where there are too few data for so many parameters.

    Source: Hurvich and Tsai (1989), Biometrika 76, 297-307.

    Args:
        squares: Sum of squared residuals.
        count: Independent residuals.
        parameters: Fitted numbers, the spread not among them.
    """
    fitted = parameters + 1
    if count <= fitted + 1:
        return math.inf
    return (
        count * math.log(max(squares, 1e-300) / count) + 2 * fitted + 2 * fitted * (fitted + 1) / (count - fitted - 1)
    )
