"""Delta debugging: the smallest part of a set that is found to do what the whole set does, by testing halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

Works = Callable[[tuple[str, ...]], bool]


def smallest(items: Sequence[str], works: Works) -> tuple[str, ...]:
    """A part of `items`, in their order, that works while none of its members can be left out (ddmin).

    All of `items` must work, and none of them must not. Of parts that work, the earliest is taken.
    """
    kept, pieces = tuple(items), 2
    while len(kept) > 1:
        parts = _cut(kept, pieces)
        # Of two halves, each is what remains without the other.
        others = [tuple(each for each in kept if each not in part) for part in parts] if pieces > 2 else []
        if (part := next(filter(works, parts), None)) is not None:
            kept, pieces = part, 2
        elif (rest := next(filter(works, others), None)) is not None:
            kept, pieces = rest, max(pieces - 1, 2)
        elif pieces == len(kept):
            break
        else:
            pieces = min(2 * pieces, len(kept))
    return kept


def _cut(items: tuple[str, ...], pieces: int) -> list[tuple[str, ...]]:
    edges = [len(items) * at // pieces for at in range(pieces + 1)]
    return [items[start:end] for start, end in pairwise(edges)]
