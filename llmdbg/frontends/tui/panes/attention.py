"""Which tokens each head reads from: a map of heads and latest keys, and the tokens read most."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmdbg.formatting import percent
from llmdbg.frontends.sanitize import quoted, sanitize
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.widgets.rows import Row, bar_of, column_of, fitted, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.probes.attention import AttentionMap, HeadSummary, KeyWeight

_WAITING = "…"
_HEAD_WIDTH, _NUMBERS_WIDTH = 3, 10
_BAR_WIDTH, _WIDE, _LEAST_READ = 8, 60, 20
_READS_WITH_MAP = 3
_LEAST_DRAWN = 0.005


def _draw(state: ScreenState, width: int, height: int) -> Sequence[Row]:
    found: AttentionMap | str = state.asked("attention") or _WAITING
    if isinstance(found, str):
        return [row((line, "dim")) for line in wrapped(sanitize(found), width)]
    rows = [_heading(found, width)]
    rows += [row((line, "warn")) for note in found.notes for line in wrapped(sanitize(note), width)]
    if found.head is not None:
        head = found.heads[found.head]
        rows.append(row((_numbers_in_words(head, found), "dim")))
        rows.append(_map_row(head, found, width))
        return [*rows, *(_read(read, width) for read in head.reads)]
    rows += [_read(read, width) for read in found.mean[: _reads_beside(found, height - len(rows))]]
    rows.append(row((_legend(found, width), "dim")))
    return [*rows, *(_map_row(head, found, width) for head in found.heads)]


def _heading(found: AttentionMap, width: int) -> Row:
    which = "mean of heads" if found.head is None else f"head {found.head}"
    where = f" {found.position} {quoted(found.text)} · {found.kernel}"
    named = f"{found.address} {which}"
    return row(
        (fitted(named, min(len(named), width)), "accent"), (fitted(where, max(0, width - len(named))).rstrip(), "dim")
    )


def _reads_beside(found: AttentionMap, room: int) -> int:
    """How many of the most-attended tokens to list above the map: fewer if that leaves room for more heads."""
    left = room - 1 - len(found.heads)
    return max(_READS_WITH_MAP, min(left, len(found.mean)))


def _legend(found: AttentionMap, width: int) -> str:
    """The legend of the map's columns; the last one is the latest key."""
    keys = min(_columns(width), found.keys)
    last = found.first_key + found.keys - 1
    return fitted(f"{'':{_HEAD_WIDTH}} keys {last - keys + 1} to {last} · entropy · on {found.first_position}", width)


def _columns(width: int) -> int:
    return max(1, width - _HEAD_WIDTH - 1 - _NUMBERS_WIDTH - 1)


def _map_row(head: HeadSummary, found: AttentionMap, width: int) -> Row:
    """One head: a cell for each of the latest keys, its entropy and its weight on the first token."""
    shown = found.weights[head.head, -_columns(width) :]
    # Shaded by square roots: next to one token with most of the weight, all others would look alike.
    cells = "".join(column_of(math.sqrt(weight)) if weight >= _LEAST_DRAWN else " " for weight in shown)
    numbers = f"{head.entropy:5.2f} {percent(head.first, 0):>4}"
    return row((f"{head.head:{_HEAD_WIDTH}} ", "dim"), (cells, "bar"), " ", (numbers, "dim"))


def _numbers_in_words(head: HeadSummary, found: AttentionMap) -> str:
    sink = "" if head.sink is None else f" · sink {percent(head.sink, 0)}"
    return f"{head.entropy:.2f} nats · on {found.first_position} {percent(head.first, 0)}{sink}"


def _read(read: KeyWeight, width: int) -> Row:
    bar = 3 * _BAR_WIDTH if width >= _WIDE else min(_BAR_WIDTH, max(0, width - _LEAST_READ))
    place = f"{read.position:5} "
    room = max(0, width - len(place) - 5 - bar - 1)
    text = fitted(quoted(read.text), room).rstrip()
    return row((place, "dim"), (f"{percent(read.weight, 0):>4} ", ""), (bar_of(read.weight, bar), "bar"), " ", text)


PANE = Pane("attention", "6", PaneSlot.TAB, _draw, question="attention", about="which tokens each head reads from")
