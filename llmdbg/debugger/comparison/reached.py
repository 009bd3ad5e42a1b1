"""Positions and attention masks that reach a stage and are not the reference's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.outcome import Finding, FindingKind
from llmdbg.formatting import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from llmdbg.debugger.comparison.grafting import Grafted

_MOST = 4


def reached_findings(run: Grafted) -> Iterator[Finding]:
    """What a grafted run was handed between its stages that is not a value of any stage."""
    for address, (name, ours, theirs) in run.indices.items():
        kind = FindingKind.POSITIONS if "position" in name or not name else FindingKind.FUNCTION
        what = "positions" if kind is FindingKind.POSITIONS else "indices"
        yield Finding(kind, address, f"receives different {what} ({name}): {_begin(ours)} instead of {_begin(theirs)}")
    for address, (name, ours, theirs) in run.masks.items():
        yield Finding(FindingKind.MASK, address, f"receives a different {name}: {_masks(ours, theirs)}")


def _begin(values: Tensor) -> str:
    flat = values.reshape(-1)
    shown = ", ".join(map(str, flat[:_MOST].tolist()))
    return f"{shown}, …" if flat.numel() > _MOST else shown


def _masks(ours: Tensor, theirs: Tensor) -> str:
    from llmdbg.debugger.comparison.grafting import allowed

    one, other = allowed(ours), allowed(theirs)
    more, fewer = int((one & ~other).sum()), int((other & ~one).sum())
    first = (one != other).nonzero()[0].tolist()
    parts = [f"allows {counted(more, 'more pair')}"] * bool(more)
    parts += [f"forbids {counted(fewer, 'more pair')}"] * bool(fewer)
    where = f"position {first[-2]} attending to {first[-1]}" if len(first) > 1 else f"position {first[-1]}"
    return f"it {' and '.join(parts)}, the first at {where}"
