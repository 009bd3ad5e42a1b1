"""Which tokens each head reads from: a map of heads and keys, labelled with both, and the tokens read most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.engine.debuggee import Capability
from llmdbg.formatting import counted, percent
from llmdbg.frontends.sanitize import quoted, sanitize
from llmdbg.frontends.tui.panes.key_columns import KeyColumns
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.widgets.rows import Row, bar_of, fitted, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.probes.attention import AttentionMap, HeadSummary, KeyWeight

_WAITING = "…"
_HEAD_WIDTH, _NUMBERS_WIDTH = 4, 10
_BAR_WIDTH, _WIDE, _LEAST_READ = 8, 60, 20
_READS_WITH_MAP = 3
_LABELS_OF_ONE = 6
_HEAD, _NATS = "head", "nats"


def _draw(state: ScreenState, width: int, height: int) -> Sequence[Row]:
    found: AttentionMap | str = state.asked("attention") or _WAITING
    if isinstance(found, str):
        return [*(row((line, "dim")) for line in wrapped(sanitize(found), width)), *_kept(state, width)]
    rows = [_heading(found, width), *_kept(state, width)]
    rows += [row((line, "warn")) for note in found.notes for line in wrapped(sanitize(note), width)]
    columns = KeyColumns.of(found, width - _HEAD_WIDTH - 1 - _NUMBERS_WIDTH - 1)
    if found.head is not None:
        head = found.heads[found.head]
        rows.append(row((_numbers_in_words(head, found), "dim")))
        rows += _above(found, columns, found.weights[found.head], width, _LABELS_OF_ONE)
        rows.append(_map_row(state, head, found, columns))
        return [*rows, *(_read(read, width) for read in head.reads)]
    left = height - len(rows) - 1 - bool(columns.first) - len(found.heads)
    reads = max(_READS_WITH_MAP, min(left, len(found.mean)))
    rows += [_read(read, width) for read in found.mean[:reads]]
    rows += _above(found, columns, found.weights.mean(axis=0), width, left - min(reads, len(found.mean)))
    return [*rows, *(_map_row(state, head, found, columns) for head in found.heads)]


def _kept(state: ScreenState, width: int) -> list[Row]:
    """That the pane stays at the layer that the user named, and how it follows the run again."""
    said = "this layer stays here · Esc follows the run" if state.snapshot.attention_named else ""
    return [row((line, "warn")) for line in wrapped(said, width)] if said else []


def _heading(found: AttentionMap, width: int) -> Row:
    heads = "its only head" if len(found.heads) == 1 else f"mean of {counted(len(found.heads), 'head')}"
    named = f"{found.address}, {heads if found.head is None else f'head {found.head}'}"
    where = f": what {quoted(found.text)} at {found.position} reads · {found.kernel}"
    return row(
        (fitted(named, min(len(named), width)), "accent"), (fitted(where, max(0, width - len(named))).rstrip(), "dim")
    )


def _above(found: AttentionMap, columns: KeyColumns, weights: NDArray[np.float32], width: int, most: int) -> list[Row]:
    """What is above the map: which keys have a column, their tokens in at most `most` lines, and their positions.

    With fewer lines than all tokens need, one line has those of the keys that `weights` (keys,) read most.
    """
    last = found.first_key + found.keys - 1
    left_out = f"keys {columns.position} to {last}, +{columns.first:,} earlier" if columns.first else ""
    margin = " " * (_HEAD_WIDTH + 1)
    ruler = fitted(columns.ruler(), columns.cell * len(columns.texts))
    numbers = f"{_NATS:>5} {f'on {found.first_position}':>4}"
    labels = (
        columns.labels(most)
        if most >= columns.most_lines
        else [columns.label_line(weights, max(1, width - len(margin)))]
    )
    return [
        *(row((fitted(line, width).rstrip(), "warn")) for line in [left_out] if line),
        *(row((margin + line, "")) for line in labels),
        row((fitted(f"{_HEAD} {ruler} {numbers}", width).rstrip(), "dim")),
    ]


def _map_row(state: ScreenState, head: HeadSummary, found: AttentionMap, columns: KeyColumns) -> Row:
    """One head, to be picked: a cell for each key that is shown, its entropy and its weight on the first token."""
    numbers = f"{head.entropy:5.2f} {percent(head.first, 0):>4}"
    cells = columns.weights(found.weights[head.head])
    stop, address = state.snapshot, found.address
    off = stop.ablated(address, head.head) is not None
    also = (("toggle_selected", f"submit {stop.head_switch(address, head.head)}"),)
    return row(
        (f"{head.head:{_HEAD_WIDTH}}{'×' if off else ' '}", "warn" if off else "dim"),
        (cells, "bar"),
        " ",
        (numbers, "dim"),
        # Of one head that is shown alone, back to all.
        do=f"head {address} {head.head}" if found.head is None else f"head {address}",
        name=f"head {head.head}",
        also=also if Capability.EDIT in stop.capabilities else (),
    )


def _numbers_in_words(head: HeadSummary, found: AttentionMap) -> str:
    sink = "" if head.sink is None else f" · sink {percent(head.sink, 0)}"
    return f"{head.entropy:.2f} nats · on {found.first_position} {percent(head.first, 0)}{sink}"


def _read(read: KeyWeight, width: int) -> Row:
    bar = 3 * _BAR_WIDTH if width >= _WIDE else min(_BAR_WIDTH, max(0, width - _LEAST_READ))
    place = f"{read.position:5} "
    room = max(0, width - len(place) - 5 - bar - 1)
    text = fitted(quoted(read.text), room).rstrip()
    return row((place, "dim"), (f"{percent(read.weight, 0):>4} ", ""), (bar_of(read.weight, bar), "bar"), " ", text)


PANE = Pane(
    "attention",
    "6",
    PaneSlot.TAB,
    _draw,
    question="attention",
    picks=True,
    offers={"until": "head", "toggle_selected": "head off/on"},
    about="which tokens each head reads from",
)
