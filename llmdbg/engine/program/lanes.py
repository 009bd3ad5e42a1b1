"""The ids that each row of a program's batch has been fed, as far as its forwards show them.

Beside the ids are the position ids that came with them, and the mask that came last. A position that was fed as a
vector has no id.

A forward that begins at position 0 starts a new sequence in every row, unless what it is fed begins with what the row
has read already: a loop without a KV cache feeds everything again each time. Ids stay on their device until someone
asks for them.

Where a program reorders its rows, as beams do, the ids go along: it is seen by what the KV cache is told, or, without a
cache, by which row each new one continues.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.engine.lanes import FamilyStep, LaneFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from llmdbg.engine.program.arguments import Reading

_MOST_WAITING = 512
VECTOR = -1
"""Stands among the ids of a lane for a position that was fed as a vector."""


@dataclass(slots=True)
class Lane:
    """One row of the batch."""

    ids: list[int] = field(default_factory=list)
    """Every id that it was fed, padding included."""
    prompt: int = 0
    """How many of them were fed before anything was chosen: by the first forward, or in parts."""
    padding: int = 0
    """How many of the first ids are left padding, which the mask hides."""
    behind: int = 0
    """How many of the last ids of its prompt are right padding, which the mask hides."""
    places: list[int | None] = field(default_factory=list)
    """The position id that was given with each; None where the model counts them itself."""

    def copy(self) -> Lane:
        """The same, with lists of its own."""
        return replace(self, ids=list(self.ids), places=list(self.places))

    def prompt_ids(self) -> tuple[int, ...]:
        """The ids of its prompt, padding included; none if that was vectors."""
        prompt = tuple(self.ids[: self.prompt])
        return () if VECTOR in prompt else prompt

    def later_ids(self) -> list[int]:
        """The ids that it was fed after its prompt."""
        return [each for each in self.ids[self.prompt :] if each != VECTOR]


@dataclass(frozen=True, slots=True)
class _Fed:
    """What one forward was fed, not looked at yet."""

    first: int
    ids: Tensor
    mask: Tensor | None
    places: Tensor | None
    is_prompt: bool


class _Chosen(Enum):
    """Whether the program has chosen a token of the sequence."""

    NOTHING = auto()
    PERHAPS = auto()
    """It was fed a single one: the first that was chosen, or the last part of its prompt."""
    SOMETHING = auto()


class Lanes:
    """The sequences of one model's batch."""

    def __init__(self) -> None:
        self._lanes: list[Lane] = []
        self._waiting: list[_Fed | Tensor | int] = []
        self._choice = _Chosen.NOTHING
        self._parents: tuple[int, ...] = ()
        self._family: list[FamilyStep] = []
        self._moved = False
        self._last: Tensor | None = None
        self.cache: Callable[[], Any] = no_cache
        """The KV cache of the last forward; None without one, or once the program has dropped it."""
        self.length = 0
        """How many positions the last forward has come to."""
        self.sequences = 0
        """How many times a new sequence has begun, among the forwards that were looked at."""
        self.mask: Tensor | None = None
        """The mask (rows, positions) of the last forward over all positions so far; None where it was given none.

        A forward that goes on without one has that of its prompt.
        """
        self.mask_is_of_prompt = False
        """Whether that is so."""
        self._plain: Tensor | None = None

    def feed(self, ids: Tensor, first: int, mask: Tensor | None, places: Tensor | None = None) -> None:
        """Note what a forward is fed: ids (rows, positions) from position `first` on; mask (rows, positions) or None;
        position ids (rows or 1, positions) or None.

        Does not wait for the device.
        """
        self.mask = mask = self._whole_mask(mask, first, ids.shape[1])
        is_prompt = first == 0 or self.goes_on_with_prompt(first, ids.shape[1])
        if not is_prompt:
            self._choice = _Chosen.PERHAPS if self._choice is _Chosen.NOTHING else _Chosen.SOMETHING
        elif first == 0:
            self._choice = _Chosen.NOTHING
        self.length = first + ids.shape[1]
        self._last = None
        self._waiting.append(
            _Fed(
                first,
                ids.detach().clone(),
                mask if is_prompt else None,
                None if places is None else places.detach().clone(),
                is_prompt,
            )
        )
        if len(self._waiting) > _MOST_WAITING:
            self._look()

    def goes_on_with_prompt(self, first: int, length: int) -> bool:
        """Whether a forward of `length` positions from `first` on is fed more of the prompt: nothing was chosen yet."""
        return 0 < first == self.length and length > 1 and self._choice is _Chosen.NOTHING

    def take(self, reading: Reading) -> None:
        """Note what a forward is fed, if it is ids or vectors. Does not wait for the device."""
        before, now = self._plain if reading.first else None, reading.mask_is_plain
        self._plain = before if now is None else now if before is None else before & now
        if reading.ids is not None:
            self.feed(reading.ids, reading.first, reading.mask, reading.places)
        elif reading.vectors is not None:
            unknown = torch.full(reading.vectors.shape[:2], VECTOR)
            self.feed(unknown, reading.first, reading.mask, reading.places)

    def mask_is_plain(self) -> bool:
        """Whether the masks of the sequence hid no more than padding and what comes later. Waits for the device."""
        return self._plain is None or bool(self._plain)

    def _whole_mask(self, mask: Tensor | None, first: int, length: int) -> Tensor | None:
        """A copy of a forward's mask over all positions so far: a loop may give that of the new ones alone."""
        self.mask_is_of_prompt = first > 0 and mask is None and self.mask is not None
        if self.mask_is_of_prompt and self.mask is not None:
            return torch.cat([self.mask[:, :first], self.mask.new_ones(len(self.mask), length)], -1)
        if mask is None or mask.dim() != 2:
            return None
        if first and mask.shape[1] == length:
            known = self.mask
            fits = known is not None and known.shape == (len(mask), first)
            before = known if known is not None and fits else mask.new_ones(len(mask), first)
            return torch.cat([before.to(mask), mask.detach()], -1)
        return mask.detach()[:, : first + length].clone()

    def following(self, reading: Reading) -> tuple[int | None, ...]:
        """`next_ids` of a forward that is not fed yet; empty if it is not fed ids."""
        return () if reading.ids is None else self.next_ids(reading.ids, reading.first)

    def lane(self, index: int) -> Lane:
        """A row of the batch; an empty one if there is none. Waits for the device if there is something new."""
        self._look()
        return self._lanes[index] if index < len(self._lanes) else Lane()

    def reordered(self, cache: Any, rows: Tensor) -> None:
        """Note, if the cache is theirs, that row i continues what was row `rows[i]`. Does not wait for the device."""
        if self.cache() is cache:
            self._waiting.append(rows.detach().clone())

    def parents(self) -> tuple[int, ...]:
        """Which row each row was when it was last fed; empty if none has moved since. Waits for the device."""
        self._look()
        return self._parents

    def family(self) -> tuple[FamilyStep, ...]:
        """Where the rows have come from, token by token, while they were reordered. Waits for the device."""
        self._look()
        return tuple(self._family) if self._moved else ()

    def next_ids(self, ids: Tensor, first: int) -> tuple[int | None, ...]:
        """The id by which a forward that is not fed yet makes each row longer; None for one that is not by exactly one.

        Empty if the batch is another. Waits for the device.
        """
        self._look()
        if len(ids) != len(self._lanes):
            return ()
        if not first:
            self._follow(ids.tolist())
        return tuple(_added(row, lane.ids, first) for row, lane in zip(ids.tolist(), self._lanes, strict=True))

    def facts(self) -> tuple[LaneFacts, ...]:
        """Each row's padding, prompt and ids. Waits for the device."""
        self._look()
        return tuple(
            LaneFacts(
                padding=each.padding,
                prompt=each.prompt - each.padding - each.behind,
                prompt_ids=each.prompt_ids()[each.padding : each.prompt - each.behind],
                ids=tuple(each.later_ids()),
                behind=each.behind,
            )
            for each in self._lanes
        )

    def may_end_with(self, ids: Tensor) -> None:
        """Note ids (rows, positions) that the program has chosen, of which it may feed the last to nothing.

        Where they are the first that it has chosen, all that was fed before is the prompt.
        """
        self._last = ids
        if self._choice is _Chosen.PERHAPS and ids.shape[-1] == self.length + 1:
            self._waiting.append(self.length)
        self._choice = _Chosen.SOMETHING

    def end(self) -> None:
        """The rows are fed no more: they end with what was noted last, if that is theirs. Waits for the device."""
        self._look()
        last, self._last = self._last, None
        rows = [] if last is None or len(last) != len(self._lanes) else last.tolist()
        if all(_begins(row, lane.ids[: lane.prompt]) for lane, row in zip(self._lanes, rows, strict=False)):
            for lane, row in zip(self._lanes, rows, strict=False):
                lane.ids[:] = row

    def count(self) -> int:
        """How many rows the batch has."""
        self._look()
        return len(self._lanes)

    def _look(self) -> None:
        for each in self._waiting:
            if isinstance(each, torch.Tensor):
                self._reorder(each.tolist())
                continue
            if isinstance(each, int):
                for lane in self._lanes:
                    lane.prompt = each
                continue
            self._fed(each)
            self._place(each.first, each.ids.shape[1], None if each.places is None else each.places.tolist())
        self._waiting.clear()

    def _reorder(self, rows: Sequence[int]) -> None:
        if len(rows) != len(self._lanes) or not all(0 <= row < len(rows) for row in rows):
            return
        self._lanes = [self._lanes[row].copy() for row in rows]
        self._moved = True
        before = self._parents or range(len(rows))
        self._parents = tuple(before[row] for row in rows)

    def _follow(self, rows: Sequence[Sequence[int]]) -> None:
        """Reorder the lanes as the rows of a forward without a cache show it, each of which begins with its parent."""
        if not self._lanes or len(rows) != len(self._lanes):
            return
        known = [lane.ids for lane in self._lanes]
        found = [at if _begins(row, known[at]) else _beginning(row, known) for at, row in enumerate(rows)]
        if all(each is not None for each in found) and found != [*range(len(rows))]:
            self._reorder([each for each in found if each is not None])

    def _fed(self, fed: _Fed) -> None:
        first, rows = fed.first, fed.ids.tolist()
        if not first:
            self._follow(rows)
        # Fed from the start again, longer by one token, it is a loop without a cache; by more, a prompt that begins
        # with what was said before, as a chat's next turn.
        goes_on = len(rows) == len(self._lanes) and all(
            first <= len(lane.ids)
            if first
            else VECTOR not in row and len(row) <= len(lane.ids) + 1 and _begins(row, lane.ids)
            for lane, row in zip(self._lanes, rows, strict=True)
        )
        if not goes_on:
            self.sequences += 1
            self._parents, self._family, self._moved = (), [], False
            self._lanes = [Lane(list(row), len(row)) for row in rows]
            self._pad(fed.mask)
            return
        if len(rows) > 1 and first + len(rows[0]) == len(self._lanes[0].ids) + 1:
            parents = self._parents or tuple(range(len(rows)))
            self._family.append(FamilyStep(len(self._lanes[0].ids), parents, tuple(row[-1] for row in rows)))
        self._parents = ()
        for lane, row in zip(self._lanes, rows, strict=True):
            lane.ids[first:] = row
            lane.prompt = len(lane.ids) if first and fed.is_prompt else lane.prompt
        if first and fed.is_prompt:
            self._pad(fed.mask)

    def _pad(self, mask: Tensor | None) -> None:
        """Note what a mask over the prompt hides at its ends."""
        for lane, seen in zip(self._lanes, [] if mask is None else mask.tolist(), strict=False):
            if any(seen):
                lane.padding, lane.behind = _leading_zeros(seen), _leading_zeros(seen[::-1])

    def _place(self, first: int, length: int, rows: Sequence[Sequence[int]] | None) -> None:
        """Note the position ids of the last forward: those of each row, or of all in one."""
        for at, lane in enumerate(self._lanes):
            given = None if rows is None else rows[at] if len(rows) == len(self._lanes) else rows[0]
            lane.places += [None] * (first - len(lane.places))
            lane.places[first:] = [None] * length if given is None else given


def no_cache() -> None:
    """Refers to no cache."""


def _added(row: Sequence[int], known: Sequence[int], first: int) -> int | None:
    goes_on = first == len(known) if first else _begins(row, known)
    return int(row[-1]) if goes_on and first + len(row) == len(known) + 1 else None


def _begins(row: Sequence[int], known: Sequence[int]) -> bool:
    return len(row) > len(known) > 0 and list(row[: len(known)]) == list(known)


def _beginning(row: Sequence[int], known: Sequence[Sequence[int]]) -> int | None:
    return next((at for at, each in enumerate(known) if _begins(row, each)), None)


def _leading_zeros(mask: Sequence[int]) -> int:
    return next((at for at, seen in enumerate(mask) if seen), 0)
