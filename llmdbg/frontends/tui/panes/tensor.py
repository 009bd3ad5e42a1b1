"""Statistics of the tensor at this stop; at `tokenize`, the table of the tokens fed to the model."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from llmdbg.debugger.execution.stop import Reason
from llmdbg.debugger.inspection.standing_questions import TensorView
from llmdbg.formatting import counted, milliseconds, percent
from llmdbg.frontends.answers.stops import beside_words, layout_words
from llmdbg.frontends.sanitize import quoted, sanitize
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.panes.tokens import token_table
from llmdbg.frontends.tui.widgets.rows import LazyRows, Row, column_of, fitted, row, wrapped
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.execution.stop import NamedTensor
    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.frontends.tui.worker.snapshot import Snapshot
    from llmdbg.probes.change import ResidualChange
    from llmdbg.probes.histogram import Histogram
    from llmdbg.probes.statistics import Statistics
    from llmdbg.probes.value_statistics import ValueStatistics

_NAMES = (("mean", "mean"), ("std", "std"), ("min", "min"), ("max", "max"), ("norm", "norm"))
_LABEL, _MOST_CODE = 9, 3
_WORDS_OF_A_TURN = ((0.999, "hardly turned"), (0.9, "turned a little"), (0.5, "turned"), (-1.1, "turned far"))


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    shown, looked = state.snapshot, state.asked("tensor")
    stage = shown.stop.stage
    if stage.kind is StageKind.TOKENIZE:
        return _token_table(state, width)
    heading = [row((fitted(stage.address, width), "strong"))]
    if stage.module and stage.module != stage.address:
        heading.append(row((fitted(stage.module, width), "dim")))
    code = shown.stop.code
    if code is not None:
        heading.append(row((fitted(f"{sanitize(code.where)} {sanitize(code.function)}", width), "dim")))
        heading += [row(line) for line in wrapped(sanitize(code.text), width)[:_MOST_CODE]]
    tensor = shown.stop.tensor
    if stage.kind is StageKind.LINE:
        return [*heading, row(), row(("this line runs next", "dim"))]
    if shown.stop.reason is Reason.EXCEPTION:
        raised = [row((line, "bad")) for line in wrapped(sanitize(shown.stop.why), width)]
        return [*heading, row(), *raised, *_named("uses", shown.stop.takes, width)]
    if tensor is None:
        return [*heading, row(), row(("this stage returns no tensor", "dim"))]
    time = "" if shown.stop.ms is None else f"  {milliseconds(shown.stop.ms, 2)}"
    size = "×".join(map(str, tensor.shape)) or "one number"
    heading.append(row((size, "accent"), f" {tensor.dtype} {tensor.device}", (time, "dim")))
    if layout := layout_words(shown.stop):
        heading += [row((line, "dim")) for line in wrapped(layout, width)]
    if shown.stop.beside is not None:
        style = "" if shown.stop.beside.equal else "warn"
        heading += [row((line, style)) for line in wrapped(beside_words(shown.stop.beside), width)]
    if stage.kind is StageKind.SAMPLE:
        return [*heading, row(), *_chosen(shown)]
    rows = [*heading, row(), *_numbers(tensor, width)]
    rows += [*_named("returns", shown.stop.returns, width), *_named("takes", _operands(shown), width)]
    if isinstance(looked, TensorView):
        rows += [*_spread(looked.spread, width), *_change(looked.change, stage.kind, width)]
    return rows


def _operands(shown: Snapshot) -> Sequence[NamedTensor]:
    return shown.stop.takes if shown.stop.stage.kind is StageKind.OP else ()


def _named(title: str, tensors: Sequence[NamedTensor], width: int) -> list[Row]:
    """What the stage returned or took, a tensor a row."""
    names = [f"{sanitize(each.name)} {'×'.join(map(str, each.shape))} {each.dtype}" for each in tensors]
    return [row((f"{title if n == 0 else '':7}", "dim"), f" {fitted(name, width - 8)}") for n, name in enumerate(names)]


def _numbers(tensor: Statistics, width: int) -> list[Row]:
    missing = [row((line, "dim")) for line in wrapped(tensor.missing, width)] if tensor.missing else []
    if tensor.cut and tensor.in_play is None:
        return [row(f"{tensor.cut:,} tokens are cut"), *missing] if missing else [row(("every token is cut", "bad"))]
    numbers = tensor.telling
    if numbers is None:
        return missing or [row(("an empty tensor", "dim"))]
    columns = [("in play" if tensor.cut else "all", numbers)]
    if tensor.focus is not None and not tensor.cut:
        columns.append((f"position {tensor.focus_position}", tensor.focus))
    cells = max(9, min(14, (width - _LABEL) // len(columns)))
    columns = [(title if len(title) < cells else title.replace("ition", ""), each) for title, each in columns]
    rows = [row(" " * _LABEL, *((title.rjust(cells), "dim") for title, _ in columns))]
    for attribute, label in _NAMES:
        rows.append(row((label.ljust(_LABEL), "dim"), *(f"{getattr(n, attribute):{cells}.4g}" for _, n in columns)))
    rows += [_counts("NaN", "nan", [n for _, n in columns], cells)]
    rows.append(_counts("infinite", "inf", [n for _, n in columns], cells))
    if tensor.cut:
        rows.append(row(("cut".ljust(_LABEL), "dim"), f"{tensor.cut:{cells},}", ("  tokens", "dim")))
    return rows + missing


def _counts(label: str, attribute: str, columns: list[ValueStatistics], cells: int) -> Row:
    counts = [getattr(numbers, attribute) for numbers in columns]
    return row((label.ljust(_LABEL), "dim"), *((f"{count:{cells},}", "bad" if count else "") for count in counts))


def _spread(spread: Histogram | None, width: int) -> list[Row]:
    """The histogram in one line, with logarithmic heights, so that the few outliers are visible."""
    if spread is None:
        return []
    bins = _rebinned(spread.counts, min(len(spread.counts), max(8, width)))
    tallest = math.log1p(max(bins))
    bar = "".join(column_of(math.log1p(count) / tallest) if count else " " for count in bins)
    low, high = f"{spread.low:.3g}", f"{spread.high:.3g}"
    return [
        row((bar, "bar")),
        row((low + " " * max(1, len(bar) - len(low) - len(high)) + high, "dim")),
    ]


def _rebinned(counts: Sequence[int], bins: int) -> list[int]:
    if bins >= len(counts):
        return list(counts)
    edges = [index * len(counts) // bins for index in range(bins + 1)]
    return [sum(counts[first:last]) for first, last in pairwise(edges)]


def _change(change: ResidualChange | None, kind: StageKind, width: int) -> list[Row]:
    if change is None:
        return []
    label = "Δ residual" if kind is StageKind.LAYER else "Δ in→out"
    turned = next((words for least, words in _WORDS_OF_A_TURN if change.cosine >= least), "")
    return [
        row((f"{label:11}", "dim"), f"{change.relative:7.3f}", (fitted("  of ‖in‖", width - 18), "dim")),
        row(("cosine     ", "dim"), f"{change.cosine:7.3f}", (fitted(f"  {turned}", width - 18), "dim")),
    ]


def _chosen(shown: Snapshot) -> list[Row]:
    chosen = shown.stop.chosen
    if chosen is None:
        return []
    return [
        row(("chosen   ", "dim"), (quoted(chosen.text), "good")),
        row(("id       ", "dim"), str(chosen.id)),
        row(("chance   ", "dim"), percent(chosen.prob, 2)),
        row(("rank     ", "dim"), "not recorded" if chosen.rank is None else str(chosen.rank)),
    ]


def _token_table(state: ScreenState, width: int) -> Sequence[Row]:
    shown = state.snapshot
    rows = [row(("tokenize", "strong"), (f"  {counted(shown.prompt_length, 'token')}", "dim"))]
    for note in shown.notes:
        rows += [row((line, "warn")) for line in wrapped(sanitize(note), width)]
    table = token_table(state, width, shown.prompt_length)
    return LazyRows(len(rows) + len(table), lambda y: rows[y] if y < len(rows) else table[y - len(rows)])


PANE = Pane("tensor", "3", PaneSlot.MIDDLE, _draw, question="tensor", about="statistics of the stage's output")
