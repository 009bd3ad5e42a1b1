"""The current stage's time, the memory in use, and the latest answer of `info cost`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.standing_questions import CostView
from llmdbg.formatting import byte_count, milliseconds, percent
from llmdbg.frontends.answers.cost import added_line
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.widgets.rows import Row, bar_of, fitted, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.inspection.cost import Cost, TimeRow
    from llmdbg.frontends.tui.state.screen_state import ScreenState

_BAR, _LEAST_SHARE = 8, 0.01
_MEASURES = "`:info cost` measures the model by itself, and what llmdbg adds"
_RESIDENT = "resident"


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    found: CostView | None = state.asked("cost")
    rows = [*_here(state, width)]
    if found is None:
        return rows
    rows += [row((fitted(line, width).rstrip(), "dim")) for line in _held(found)]
    if found.measured is None:
        return [*rows, *(row((line, "dim")) for line in wrapped(_MEASURES, width)), *_seen(state, width)]
    return [*rows, *_measured(found.measured, width)]


def _here(state: ScreenState, width: int) -> Sequence[Row]:
    stop = state.snapshot.stop
    took = "no time" if stop.ms is None else milliseconds(stop.ms, 2)
    name = fitted(sanitize(stop.stage.address), max(0, width - len(took) - 2)).rstrip()
    return [row((took, "accent"), (f"  {name}", "dim"))]


def _held(found: CostView) -> list[str]:
    growth = "" if found.kv_growth is None else f" +{byte_count(found.kv_growth)} a token"
    lines = [] if found.kv_bytes is None else [f"KV cache {byte_count(found.kv_bytes)}{growth}"]
    parameters = sum(each.bytes for each in found.memory if each.what == "parameters")
    process = sum(each.bytes for each in found.memory if each.what.startswith(_RESIDENT))
    return [*lines, f"weights {byte_count(parameters)} · RSS {byte_count(process)}"]


def _seen(state: ScreenState, width: int) -> list[Row]:
    """The slowest stages seen during this token, until `info cost` has measured."""
    times = sorted(((each.ms, address) for address, each in state.snapshot.seen.items() if each.ms), reverse=True)
    head = [row((fitted("seen during this token, watched", width).rstrip(), "dim"))] if times else []
    return [*head, *(_seen_time(ms, name, width) for ms, name in times)]


def _seen_time(ms: float, name: str, width: int) -> Row:
    return row(f"{milliseconds(ms, 2):>11} ", (fitted(sanitize(name), max(0, width - 12)), "dim"))


def _measured(cost: Cost, width: int) -> list[Row]:
    alone = cost.alone
    what = f"decode, token {alone.token}" if alone.token else f"prefill of {alone.positions}"
    rate = f"{alone.tokens_per_second:.1f} tok/s"
    rows = [row((line, "accent")) for line in wrapped(f"{milliseconds(alone.ms, 1)} · {rate} · {what}, alone", width)]
    if cost.other is not None:
        phase = f"{cost.other.phase} {milliseconds(cost.other.ms, 1)} · {cost.other.tokens_per_second:.1f} tok/s"
        rows.append(row((fitted(phase, width).rstrip(), "dim")))
    rows += [row((line, "warn")) for note in cost.notes for line in wrapped(sanitize(note), width)]
    rows += [_time(each, width) for each in cost.outline if each.share >= _LEAST_SHARE]
    small = sum(each.share < _LEAST_SHARE for each in cost.outline)
    if small:
        rows.append(row((fitted(f"+{small} more, each under {percent(_LEAST_SHARE, 0)}", width).rstrip(), "dim")))
    rows += [_time(each, width, "· ") for each in cost.parts]
    return [*rows, *(row((line, "dim")) for each in cost.added for line in wrapped(added_line(each), width))]


def _time(each: TimeRow, width: int, before: str = "") -> Row:
    name = fitted(f"{before}{sanitize(each.name)}", max(4, width - _BAR - 16))
    return row(
        f"{each.ms:8.2f} ", (f"{percent(each.share, 0):>4} ", "dim"), (bar_of(each.share, _BAR), "bar"), f" {name}"
    )


PANE = Pane("cost", "dollar_sign", PaneSlot.TAB, _draw, question="cost", about="time and memory")
