"""How one value lies on the ranks of a run, live or recorded. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """How one value lies on the ranks."""

    axis: int | None = None
    """The axis it is split over; None if every rank holds all of it."""
    sizes: tuple[int, ...] = ()
    """How much of that axis each rank holds, in order; empty if it is not split."""

    @property
    def is_split(self) -> bool:
        """Whether each rank holds a part only."""
        return self.axis is not None


REPLICATED = Layout()
"""Every rank holds all of it."""


def layout_words(layouts: Sequence[Layout | None]) -> str:
    """How values lie, in words, those of one kind once."""
    return ", ".join(dict.fromkeys(map(_words, layouts))) or "no tensor"


def _words(layout: Layout | None) -> str:
    if layout is None:
        return "not known"
    return "whole on every rank" if layout.axis is None else f"split over axis {layout.axis}"


def part_words(layout: Layout | None, rank: int) -> str:
    """Which part of a value that lies so `rank` holds, in words."""
    if layout is None or layout.axis is None:
        return "what it has itself" if layout is None else "all of it"
    start, size = sum(layout.sizes[:rank]), layout.sizes[rank]
    return f"{start} to {start + size - 1} of axis {layout.axis}" if size else "nothing"


def split_over(size: int, ranks: int) -> tuple[int, ...]:
    """How much of an axis each rank holds: as `torch.chunk` splits, so the last may hold less."""
    each = -(-size // ranks)
    return tuple(max(0, min(each, size - rank * each)) for rank in range(ranks))
