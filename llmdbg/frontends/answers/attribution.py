"""Direct logit attribution as lines and as a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmdbg.frontends.answers.tables import Block, Column, Table
from llmdbg.frontends.sanitize import quoted, sanitize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.probes.attribution import Attribution, AttributionTerm

_LARGEST = 5
_BAR = 12


def attribution_blocks(value: Attribution) -> list[Block]:
    """A line for each part, in the order they run, then the sum and the largest contributions."""
    widest = max((abs(each.value) for each in value.terms), default=0.0)
    columns = (
        Column("part", left=True),
        Column("what", left=True),
        Column("adds", lambda value: f"{value:+.3f}"),
        Column("", left=True),
    )
    rows = tuple((each.address, each.what, each.value, _bar(each.value, widest)) for each in value.terms)
    whole = f"one term each, since their modules do not add up: layers {', '.join(value.whole)}"
    return [
        f"what each part adds to the logit of {quoted(value.text)} (position {value.position}, after {value.after})",
        Table(columns, rows),
        _sum(value),
        f"largest: {', '.join(f'{each.address} {each.value:+.2f}' for each in _largest(value))}",
        *([whole] if value.whole else []),
        *(f"note: {sanitize(note)}" for note in value.notes),
    ]


def _largest(value: Attribution) -> list[AttributionTerm]:
    return sorted(value.terms, key=lambda each: -abs(each.value))[:_LARGEST]


def _sum(value: Attribution) -> str:
    line = f"sum {value.sum:.4f}, the lens's logit {value.logit:.4f} (difference {value.sum - value.logit:+.1e})"
    return line if value.capped is None else f"{line}, {value.capped:.4f} after the soft cap"


def _bar(value: float, widest: float) -> str:
    """A bar that starts in the middle and goes left for a negative value, right for a positive one."""
    share = abs(value) / widest if widest > 0 else 0.0
    cells = round(share * _BAR) if math.isfinite(share) else 0
    return f"{'█' * cells:>{_BAR}}│" if value < 0 else f"{'':{_BAR}}│{'█' * cells}"


def attribution_tables(value: Attribution) -> Sequence[Table]:
    """A row for each part."""
    columns = tuple(Column(title) for title in ("part", "what", "layer", "adds", "token_id", "token"))
    rows = tuple((each.address, each.what, each.layer, each.value, value.id, value.text) for each in value.terms)
    return [Table(columns, rows)]
