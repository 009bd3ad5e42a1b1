"""The stages of one token from top to bottom, in the order they complete; those around the current one are unfolded.

A stage completes after its parts, so the parts are above it, in a bracket that the stage closes. The model only gives
the order in which it lists its modules: until they have been seen to run they appear in that order, with a dotted line.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from llmdbg.debugger.inspection.additions_answer import LayerAdditions
from llmdbg.debugger.inspection.predictions_answer import LayerPredictions
from llmdbg.formatting import counted, milliseconds, percent
from llmdbg.frontends.sanitize import quoted, sanitize
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.state.stage_progress import has_run
from llmdbg.frontends.tui.widgets.rows import LazyRows, Row, Span, bar_of, column_of, fitted, row
from llmdbg.frontends.tui.worker.execution_order import path_in_layer
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmdbg.debugger.inspection.additions_answer import Addition
    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.frontends.tui.worker.seen_stages import StageSummary
    from llmdbg.frontends.tui.worker.snapshot import Snapshot
    from llmdbg.models.stages import Stage

_NORM_WIDTH, _MS_WIDTH, _ROOMY, _VERY_ROOMY = 8, 8, 42, 70
_PERCENT, _LEAST_NAME, _LEAST_SAID, _MOST_SAID = 5, 8, 17, 24
_NARROW_NAME, _NARROW_NORM = 7, 7
_TIMES_WIDER = "times: z"
_SIGNS = 4 + _PERCENT
_WITH_ADDITIONS, _SHARE, _PUSHED = 90, 6, 10
_ADDITION = _SHARE + 1 + _PUSHED
_ADDED_BY = {"attention": "attn adds", "mlp": "mlp adds"}
_APART = 9
_SCORES = (StageKind.LOGITS, StageKind.PROCESSOR)


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    stages, shown = state.stages(), state.snapshot
    said = state.asked("layers") if state.view.predictions else None
    says = said if isinstance(said, LayerPredictions) and not said.why_none else None
    added = state.asked("additions") if says is not None and width >= _WITH_ADDITIONS else None
    adds = added if isinstance(added, LayerAdditions) and not added.why_none else None
    apart = said.apart if isinstance(said, LayerPredictions) else None
    shown_beside = _Beside(None if apart is not None else says, adds, apart)
    return LazyRows(len(stages), lambda y: _stage_row(state, shown, shown_beside, stages[max(0, y - 1) : y + 1], width))


class _Beside(NamedTuple):
    """What stands beside the stages' names."""

    says: LayerPredictions | None
    adds: LayerAdditions | None
    apart: Mapping[str, float] | None


def _stage_row(
    state: ScreenState,
    shown: Snapshot,
    beside: _Beside,
    until_here: Sequence[Stage],
    width: int,
) -> Row:
    """The row of the last stage in `until_here`; the one above it decides where brackets begin."""
    stage, above = until_here[-1], until_here[0] if len(until_here) > 1 else None
    address = stage.address
    here = address == shown.stop.stage.address
    point = shown.breakpoint_at(address)
    mark = (" ", "") if point is None else ("●", "bad") if point.enabled else ("○", "dim")
    fold = ""
    if state.tree.has_parts(address):
        fold = "╰ " if state.is_unfolded(address) else "▸ "
    says, ran = beside.says, has_run(shown, state.tree, address)
    apart = {} if beside.apart is not None and ran is False else beside.apart
    values = (*_apart(apart, stage), *_values(shown, stage, says, beside.adds, width))
    indent = _brackets(state, stage, above) + ("  " if stage.kind is StageKind.PROCESSOR else "")
    least = _NARROW_NAME - 4 if stage.kind is StageKind.LAYER and says is not None else 4
    name_width = max(least, width - 2 - len(indent) - 2 - sum(len(span.text) for span in values))
    to_come = "" if ran else "dim"
    style = "here" if here else "match" if address in state.stage_matches() else to_come
    return row(
        ("▶" if here else " ", "here", f"breakpoint {address}"),
        (*mark, f"breakpoint {address}"),
        (indent + (fold or "  "), "dim", f"fold {address}" if fold else ""),
        (fitted(_name(state, stage), name_width), style),
        *values,
        fill="selected" if address == state.selected else "",
        do=f"select {address}",
    )


def _apart(apart: Mapping[str, float] | None, stage: Stage) -> tuple[Span, ...]:
    """How far a stage is from the reference's; the column is full for all of it, and empty for a ten-millionth."""
    if apart is None:
        return ()
    error = apart.get(stage.address)
    if error is None:
        # The reference reads the same prompt.
        said = "same" if stage.kind is StageKind.TOKENIZE else ""
        return (Span(said.rjust(_APART), ""),)
    height = 0.0 if error <= 0 else min(1.0, max(0.0, (math.log10(error) + 7) / 7))
    return (
        Span(column_of(height) if error else " ", "bar"),
        Span(f"{error:.1e}".rjust(_APART - 1) if error else "same".rjust(_APART - 1), ""),
    )


def _brackets(state: ScreenState, stage: Stage, above: Stage | None) -> str:
    """A column for each stage that encloses this one, from the outside in: `╭` where a bracket begins."""
    outside = "" if above is None else above.address
    line = "│ " if path_in_layer(stage) in state.snapshot.ordered or stage.layer is None else "┊ "
    surroundings = state.tree.enclosing(stage.address)
    return "".join(line if whole in state.tree.enclosing(outside) else "╭ " for whole in reversed(surroundings))


def _name(state: ScreenState, stage: Stage) -> str:
    """A stage's name; a module's is relative to the stage that encloses it."""
    if stage.kind is StageKind.PROCESSOR:
        return stage.address.partition(".")[2]
    outer = state.tree.parent(stage.address)
    if stage.is_fine:
        code = state.snapshot.stop.code
        text = "" if code is None or stage != state.snapshot.stop.stage else f" {sanitize(code.text)}"
        return f"{stage.address if outer is None else stage.address.removeprefix(outer)}{text}"
    return stage.address if outer is None else stage.address.removeprefix(f"{outer}.")


def _values(
    shown: Snapshot, stage: Stage, says: LayerPredictions | None, adds: LayerAdditions | None, width: int
) -> tuple[Span, ...]:
    seen = shown.seen.get(stage.address)
    if stage.kind is StageKind.LAYER and says is not None:
        return _with_prediction(stage, seen, says, adds, width)
    if stage.kind is StageKind.TOKENIZE:
        count = counted(shown.prompt_length, "token")
        timed = says is None or len(_columns_beside(width)[1]) > 1
        return (Span((count if timed else f"{count} · {_TIMES_WIDER}").rjust(_NORM_WIDTH + _MS_WIDTH), "dim"),)
    bars = width >= _ROOMY
    measured: tuple[Span, ...] = ()
    if seen is not None:
        measured = (*_norm(stage, seen, bars=bars), *_time(seen, bars=bars))
    if stage.kind is StageKind.EMBED and adds is not None:
        room = _NORM_WIDTH + _MS_WIDTH + 4 - sum(len(span.text) for span in measured)
        return (*_titles(), *measured, Span(" " * room))
    return measured


def _with_prediction(
    stage: Stage, seen: StageSummary | None, says: LayerPredictions, adds: LayerAdditions | None, width: int
) -> tuple[Span, ...]:
    """What the model would say after a layer, before the layer's norm and, if there is room, its time.

    Between them, if they are known, stands what attention and MLP each added.
    """
    bars, (name, columns) = width >= _VERY_ROOMY, _columns_beside(width)
    measured: tuple[Span, ...] = (Span(" " * sum(columns), ""),)
    if seen is not None:
        norm = _norm(stage, seen, bars=bars, width=columns[0] - 2 * bars)
        measured = (*norm, *(_time(seen, bars=bars) if len(columns) > 1 else ()))
    added = () if adds is None else _additions(adds.layers.get(stage.address))
    text = max(0, min(_MOST_SAID, width - name - sum(columns) - _SIGNS - len(added) * _ADDITION // 2))
    return (*_prediction(stage, says, text), *added, *measured)


def _columns_beside(width: int) -> tuple[int, list[int]]:
    """How wide a layer's name, and its norm and time are beside what it would say; no time if there is no room."""
    bars = width >= _VERY_ROOMY
    columns = [_NORM_WIDTH + 2 * bars, _MS_WIDTH + 2 * bars]
    if width - _LEAST_NAME - sum(columns) >= _LEAST_SAID:
        return _LEAST_NAME, columns
    if width - _NARROW_NAME - _NARROW_NORM - _MS_WIDTH >= _LEAST_SAID:
        return _NARROW_NAME, [_NARROW_NORM, _MS_WIDTH]
    return _LEAST_NAME, [_NORM_WIDTH]


def _titles() -> tuple[Span, ...]:
    """The names of the columns of what attention and MLP add, in the row above the layers."""
    return tuple(Span(f"{'':{_SHARE - 4}}{title:{_ADDITION - _SHARE + 4}}", "dim") for title in _ADDED_BY.values())


def _additions(parts: Mapping[str, Addition] | None) -> tuple[Span, ...]:
    """The length of what attention and MLP each added, and the token that each pushes most; two spans for each."""
    spans: list[Span] = []
    for what in _ADDED_BY:
        part = None if parts is None else parts.get(what)
        share = "" if parts is None else "–" if part is None else _factor(part.share)
        text = "" if part is None or part.text is None else quoted(part.text)
        spans += [Span(f"{share:>{_SHARE}}", ""), Span(f" {fitted(text, _PUSHED)}", "dim")]
    return tuple(spans)


def _factor(share: float) -> str:
    """In at most five characters."""
    return f"{share:.2f}" if share < 9.995 else f"{share:.0f}" if share < 9999.5 else ">9999"


def _prediction(stage: Stage, says: LayerPredictions, width: int) -> tuple[Span, ...]:
    """The token, in `width` cells, its probability, and whether it is what the model says in the end."""
    best = says.layers.get(stage.address)
    if best is None:
        return (Span(" " * (width + _SIGNS), ""),)
    same = says.prediction is not None and best.id == says.prediction.id
    style = ("good" if same else "") if says.verified else "dim"
    return (
        Span(f" {_sign(stage, says, same=same)}", style),
        Span(column_of(best.prob), "bar"),
        Span(f" {fitted(quoted(best.text), width)}", style),
        Span(f"{percent(best.prob, 0):>{_PERCENT}}", "dim"),
    )


def _sign(stage: Stage, says: LayerPredictions, *, same: bool) -> str:
    """A line beside the layers that say what the model says in the end: it begins at a dot, and a corner is to stay."""
    if not same:
        return " "
    return "┏" if stage.address == says.stays else "◆" if stage.address == says.first else "┃"


def _norm(stage: Stage, seen: StageSummary, *, bars: bool, width: int = _NORM_WIDTH) -> tuple[Span, ...]:
    if seen.not_finite and stage.kind not in _SCORES:
        return (Span(f"{seen.not_finite} bad".rjust(width + 2 * bars), "bad"),)
    known = seen.norm is not None and stage.kind not in (*_SCORES, StageKind.SAMPLE)
    text = f"‖{_short(seen.norm or 0.0)}‖" if known else ""
    # From a norm of 1 to one of 4096, each eighth of the cell is a factor of 2.8: the same scale for every stage, so
    # that a bar never changes because another stage was seen.
    bar = column_of(math.log2(max(seen.norm or 0, 1.0)) / 12) if known else " "
    return (*((Span(f" {bar}", "norm-bar"),) if bars else ()), Span(text.rjust(width), ""))


def _short(norm: float) -> str:
    """At most five characters from 0.001 to 9,999,999."""
    if norm < 999.5:
        return f"{norm:.3g}"
    return f"{norm:.0f}" if norm < 9999.5 else f"{norm / 1000:.{0 if norm >= 99_950 else 1}f}k"


def _time(seen: StageSummary, *, bars: bool) -> tuple[Span, ...]:
    ms = seen.ms
    text = "" if ms is None else milliseconds(ms)
    # From 10 µs to 100 ms. It lies where the others stand, so that time is told apart without colours too.
    bar = " " if ms is None else bar_of((math.log10(max(ms, 1e-3)) + 2) / 4, 1)
    return (*((Span(f" {bar}", "time-bar"),) if bars else ()), Span(text.rjust(_MS_WIDTH), "dim"))


def _line(state: ScreenState) -> int:
    return state.selected_line()


PANE = Pane(
    "stages",
    "2",
    PaneSlot.STAGES,
    _draw,
    question="layers",
    wide_question=(_WITH_ADDITIONS, "additions"),
    draws_unanswered=True,
    line=_line,
    about="where the run is, where it can stop, and what each layer would say",
)
