"""Statistics that a dump states, made into ours."""

from __future__ import annotations

import math

from llmdbg.probes.value_statistics import ValueStatistics

_UNKNOWN = math.nan


def stated(
    count: int,
    *,
    low: float = _UNKNOWN,
    high: float = _UNKNOWN,
    mean: float = _UNKNOWN,
    std: float = _UNKNOWN,
    norm: float = _UNKNOWN,
    is_nan: bool = False,
) -> ValueStatistics:
    """The statistics of `count` values as far as a dump states them; what it does not is NaN.

    Of the population's standard deviation and the norm, each follows from the other and the mean. How many values are
    not finite is not known: some count as one. `is_nan` says that the dump states a NaN.
    """
    square = mean * mean
    if math.isnan(norm) and not math.isnan(std):
        norm = math.sqrt(count * (std * std + square))
    elif math.isnan(std) and not math.isnan(norm) and count:
        std = math.sqrt(max(0.0, norm * norm / count - square)) if math.isfinite(norm) else _UNKNOWN
    return ValueStatistics(low, high, mean, std, norm, int(is_nan), int(math.isinf(low) or math.isinf(high)))
