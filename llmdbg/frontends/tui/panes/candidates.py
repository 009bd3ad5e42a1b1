"""Which tokens may come next here, and what the logits processors did to each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmdbg.frontends.tui.rows import Row, fitted, row, wrapped
from llmdbg.frontends.visible import quoted
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.frontends.tui.snapshot import Snapshot
    from llmdbg.probes.candidates import Candidate

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BAR_WIDTH, _SHORT_BAR_WIDTH, _ROOMY = 8, 4, 48
_NOT_YET = "Candidates begin at `logits`, where every token of the vocabulary gets a score: f goes there."


def candidate_rows(shown: Snapshot, width: int) -> list[Row]:
    """The likeliest tokens, a bar and a percentage each; after a processor, what they had before it."""
    found = shown.stop.candidates
    if found is None:
        return [row((line, "dim")) for line in wrapped(_NOT_YET, width)]
    chosen = shown.stop.chosen.id if shown.stop.chosen is not None else None
    processed = len(found.rows[0].path) > 1 if found.rows else False
    left = "" if found.left == found.vocabulary else f"{found.left:,} of "
    rows = [row((f"{left}{found.vocabulary:,} left · entropy {found.entropy:.2f} nats", "dim"))]
    rows += [row((f"{address.partition('.')[2] or address} cut {count:,}", "warn")) for address, count in found.cuts]
    if processed and shown.stop.stage.kind is not StageKind.LOGITS:
        rows.append(row(("   before    now", "dim")))
    return [*rows, *(_candidate(each, processed, each.id == chosen, width) for each in found.rows)]


def _candidate(candidate: Candidate, processed: bool, is_chosen: bool, width: int) -> Row:
    style = "good" if is_chosen else "cut" if candidate.cut_by else ""
    mark = "▶" if is_chosen else " "
    before = f"{_percent(candidate.path[0].prob)} " if processed else ""
    now = "   cut" if candidate.cut_by else _percent(candidate.prob)
    bar_width = _SHORT_BAR_WIDTH if processed and width < _ROOMY else _BAR_WIDTH
    bar = bar_of(candidate.prob, bar_width)
    why = f" {candidate.cut_by.partition('.')[2]}" if candidate.cut_by else ""
    room = max(3, width - 4 - len(before) - 6 - bar_width - 2 - len(why))
    return row(
        (f"{mark}{candidate.rank:2} ", "good" if is_chosen else "dim"),
        (before, "dim"),
        (now, style),
        " ",
        (bar, "bar"),
        " ",
        (fitted(quoted(candidate.text), room).rstrip(), style),
        (why, "dim"),
    )


def bar_of(part: float, width: int) -> str:
    """A bar of `width` cells filled as far as `part` (0 to 1) says, to an eighth of a cell."""
    eighths = round(max(0.0, min(1.0, 0.0 if math.isnan(part) else part)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def _percent(prob: float) -> str:
    return f"{100 * prob:5.1f}%"
