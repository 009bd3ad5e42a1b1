"""The ids that each row of a program's batch has been fed, as far as its forwards show them.

A forward that begins at position 0 starts a new sequence in every row, unless what it is fed begins with what the row
has read already: a loop without a KV cache feeds everything again each time. Ids stay on their device until someone
asks for them.

Rows are told apart by their place in the batch. Where a program reorders its rows, as beams do, what a row was fed
before it may be another beam's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmdbg.engine.debuggee import LaneFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_MOST_WAITING = 512


@dataclass(slots=True)
class Lane:
    """One row of the batch."""

    ids: list[int] = field(default_factory=list)
    """Every id that it was fed, padding included."""
    prompt: int = 0
    """How many of them the first forward of the sequence was fed."""
    padding: int = 0
    """How many of the first ids are left padding, which the mask hides."""


class Lanes:
    """The sequences of one model's batch."""

    def __init__(self) -> None:
        self._lanes: list[Lane] = []
        self._waiting: list[tuple[int, Tensor, Tensor | None]] = []
        self.length = 0
        """How many positions the last forward has come to."""
        self.sequences = 0
        """How many times a new sequence has begun, among the forwards that were looked at."""

    def feed(self, ids: Tensor, first: int, mask: Tensor | None) -> None:
        """Note what a forward is fed: ids (rows, positions) from position `first` on; mask (rows, positions) or None.

        Does not wait for the device.
        """
        hiding = mask.detach().clone() if mask is not None and mask.dim() == 2 and first == 0 else None
        self.length = first + ids.shape[1]
        self._waiting.append((first, ids.detach().clone(), hiding))
        if len(self._waiting) > _MOST_WAITING:
            self._look()

    def lane(self, index: int) -> Lane:
        """A row of the batch; an empty one if there is none. Waits for the device if there is something new."""
        self._look()
        return self._lanes[index] if index < len(self._lanes) else Lane()

    def next_ids(self, ids: Tensor, first: int) -> tuple[int | None, ...]:
        """The id by which a forward that is not fed yet makes each row longer; None for one that is not by exactly one.

        Empty if the batch is another. Waits for the device.
        """
        self._look()
        if len(ids) != len(self._lanes):
            return ()
        return tuple(_added(row, lane.ids, first) for row, lane in zip(ids.tolist(), self._lanes, strict=True))

    def facts(self) -> tuple[LaneFacts, ...]:
        """Each row's padding, prompt and ids. Waits for the device."""
        self._look()
        return tuple(
            LaneFacts(each.padding, each.prompt - each.padding, tuple(each.ids[each.prompt :])) for each in self._lanes
        )

    def count(self) -> int:
        """How many rows the batch has."""
        self._look()
        return len(self._lanes)

    def _look(self) -> None:
        for first, ids, mask in self._waiting:
            masks = None if mask is None else mask.tolist()
            self._fed(first, ids.tolist(), masks)
        self._waiting.clear()

    def _fed(self, first: int, rows: Sequence[Sequence[int]], masks: Sequence[Sequence[int]] | None) -> None:
        goes_on = len(rows) == len(self._lanes) and all(
            first <= len(lane.ids) if first else _begins(row, lane.ids)
            for lane, row in zip(self._lanes, rows, strict=True)
        )
        if not goes_on:
            self.sequences += 1
            self._lanes = [Lane(list(row), len(row)) for row in rows]
            for at, lane in enumerate(self._lanes):
                lane.padding = 0 if masks is None else _leading_zeros(masks[at])
            return
        for lane, row in zip(self._lanes, rows, strict=True):
            lane.ids[first:] = row


def _added(row: Sequence[int], known: Sequence[int], first: int) -> int | None:
    goes_on = first == len(known) if first else _begins(row, known)
    return int(row[-1]) if goes_on and first + len(row) == len(known) + 1 else None


def _begins(row: Sequence[int], known: Sequence[int]) -> bool:
    return len(row) > len(known) > 0 and list(row[: len(known)]) == list(known)


def _leading_zeros(mask: Sequence[int]) -> int:
    return next((at for at, seen in enumerate(mask) if seen), 0)
