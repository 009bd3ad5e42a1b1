"""The statistics of some values, as plain numbers: what every tensor is described by. Imports nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ValueStatistics:
    """Statistics of some values, in float32. A NaN among the values makes min, max and norm NaN."""

    min: float
    """The least value."""
    max: float
    """The greatest value."""
    mean: float
    """The mean of those that are finite; NaN if none is."""
    std: float
    """The population standard deviation of those that are finite; NaN if none is."""
    norm: float
    """The L2 norm."""
    nan: int
    """How many values are NaN."""
    inf: int
    """How many values are infinite."""

    def line(self) -> str:
        """`≈0.00 ±0.91 [≥-8.1, ≤12.0] ‖41.2‖ nan:0 inf:0`."""
        return (
            f"≈{self.mean:.3g} ±{self.std:.3g} [≥{self.min:.3g}, ≤{self.max:.3g}] ‖{self.norm:.4g}‖ "
            f"nan:{self.nan} inf:{self.inf}"
        )
