"""Which positions of a batch's prompts are padding, whatever its mask says.

The mask may be what is wrong, so the ids are looked at as well: padding is the same id again and again, in front of a
prompt or behind it. Many models pad with the id that also begins or ends a text. That one is a row's own where nothing
hides it, and where every row has it beyond what its mask hides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

Rows = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Marks:
    """The special ids of a model, as far as its configuration and its tokenizer say them."""

    pads: frozenset[int]
    """The ids that stand for padding."""
    ends: frozenset[int]
    """The ids that begin or end a text."""


def marks_of(*sources: Any) -> Marks:
    """Those that configurations and tokenizers name; a source that is None names none."""
    named = {
        name: {id for source in sources for id in _ids(getattr(source, f"{name}_token_id", None))}
        for name in ("pad", "bos", "eos", "decoder_start")
    }
    return Marks(frozenset(named.pop("pad")), frozenset().union(*named.values()))


def padding_of(prompts: Rows, masks: Rows | None, marks: Marks) -> list[tuple[int, int]]:
    """How many of the first and of the last positions of each prompt are padding.

    `prompts` and `masks` have the same shape; `masks` is None where none was given.
    """
    hiding = masks if masks is not None and any(0 in each for each in masks) else None
    hidden = [(0, 0)] * len(prompts) if hiding is None else hidden_ends(hiding)
    pad = _pad(prompts, hiding, marks)
    if pad is None:
        return hidden
    runs = [_ends(each, pad) for each in prompts]
    front = _counted([each[0] for each in runs], [each[0] for each in hidden], hiding is not None, pad in marks.ends)
    behind = _counted([each[1] for each in runs], [each[1] for each in hidden], hiding is not None, pad in marks.ends)
    return list(zip(front, behind, strict=True))


def hidden_ends(masks: Rows) -> list[tuple[int, int]]:
    """How many of the first and of the last positions of each row a mask hides."""
    return [_ends(each, 0) for each in masks]


def ended_by_padding(later: Sequence[int], marks: Marks) -> int:
    """How many of the last ids that were generated are padding: a row that has ended is fed it while others go on."""
    if not later or not marks.ends or later[-1] not in marks.pads | marks.ends:
        return 0
    run = len(list(takewhile(lambda id: id == later[-1], reversed(later))))
    if len(later) > run and later[-run - 1] in marks.ends:
        return run
    return run - 1 if later[-1] in marks.ends else 0


def _counted(runs: Sequence[int], hidden: Sequence[int], is_masked: bool, may_be_text: bool) -> list[int]:
    """The padding at one end of each row: `runs` of the padding's id, of which a mask hides `hidden`."""
    beyond = [max(0, run - hides) for run, hides in zip(runs, hidden, strict=True)]
    own = min(beyond) if may_be_text else 0
    return [
        0 if may_be_text and is_masked and not hides else run - min(own, run)
        for run, hides in zip(runs, hidden, strict=True)
    ]


def _pad(prompts: Rows, masks: Rows | None, marks: Marks) -> int | None:
    """The id that pads these prompts; None if that is not known."""
    known = next(iter(sorted(marks.pads)), None)
    if masks is None:
        at_the_ends = {row[at] for row in prompts for at in (0, -1) if row}
        return next(iter(sorted(marks.pads & at_the_ends)), known)
    pairs = (pair for both in zip(prompts, masks, strict=True) for pair in zip(*both, strict=True))
    masked = [id for id, seen in pairs if not seen]
    if found := marks.pads & set(masked):
        return max(sorted(found), key=masked.count)
    if len(set(masked)) == 1 and (len(masked) > 1 or known is None):
        return masked[0]
    return known if len(masked) == 1 else None


def _ends(row: Sequence[int], value: int) -> tuple[int, int]:
    """How often a value stands at the beginning and at the end of a row; at the beginning alone if it is all of it."""
    front = len(list(takewhile(lambda each: each == value, row)))
    return (front, 0) if front == len(row) else (front, len(list(takewhile(lambda each: each == value, reversed(row)))))


def _ids(value: Any) -> list[int]:
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    return [each for each in value if isinstance(each, int)] if isinstance(value, (list, tuple)) else []
