"""Positions and attention masks that reach a stage and are not the reference's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.outcome import Finding, FindingKind
from llmdbg.formatting import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from llmdbg.debugger.comparison.grafting import Grafted
    from llmdbg.debugger.comparison.mask_fitting import FittedMasks

_MOST = 4
_MOST_NOTES = 4


def reached_findings(run: Grafted) -> Iterator[Finding]:
    """What a grafted run was handed between its stages that is not a value of any stage."""
    for address, (name, ours, theirs) in run.indices.items():
        kind = FindingKind.POSITIONS if "position" in name or not name else FindingKind.FUNCTION
        what = "positions" if kind is FindingKind.POSITIONS else "indices"
        yield Finding(kind, address, f"receives different {what} ({name}): {_begin(ours)} instead of {_begin(theirs)}")
    for address, (name, both) in run.masks.items():
        yield Finding(FindingKind.MASK, address, f"receives a different {name}: {_masks(both)}")


def mask_notes(run: Grafted) -> list[str]:
    """Which masks could not be compared, a sentence for the first of each pair of shapes."""
    notes: dict[object, str] = {}
    for address, (name, ours, theirs) in run.other_masks.items():
        shapes = f"{'×'.join(map(str, ours))} instead of {'×'.join(map(str, theirs))}"
        notes.setdefault((name, ours[-1:], theirs[-1:]), f"the {name} of {address} is {shapes}, and was not compared")
    return list(notes.values())[:_MOST_NOTES]


def _begin(values: Tensor) -> str:
    flat = values.reshape(-1)
    shown = ", ".join(map(str, flat[:_MOST].tolist()))
    return f"{shown}, …" if flat.numel() > _MOST else shown


def _masks(both: FittedMasks) -> str:
    more, fewer = int((both.ours & ~both.theirs).sum()), int((both.theirs & ~both.ours).sum())
    first = (both.ours != both.theirs).nonzero()[0].tolist()
    parts = [f"allows {counted(more, 'more pair')}"] * bool(more)
    parts += [f"forbids {counted(fewer, 'more pair')}"] * bool(fewer)
    key = "padding" if first[-1] < both.front else str(first[-1] - both.front)
    where = f"position {first[-2]} attending to {key}" if len(first) > 2 else f"position {key}"
    return f"it {' and '.join(parts)}, the first at {where}"
