"""The header, status and footer lines, and the tabs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from llmdbg.formatting import counted
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.input.actions import shown_key
from llmdbg.frontends.tui.panes.tour import tour_line
from llmdbg.frontends.tui.state.sentences import sentence
from llmdbg.frontends.tui.widgets.rows import Row, Span, bar_of, fitted, row
from llmdbg.frontends.tui.worker.seen_stages import settings_of
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from llmdbg.frontends.tui.input.actions import Action
    from llmdbg.frontends.tui.panes.pane import Pane
    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.frontends.tui.worker.snapshot import Snapshot

_RUN_BAR_WIDTH = 24
_WIDE = 100
_CUT_MODEL, _LEAST_MODEL = 12, 4  # cells


def header_row(state: ScreenState, width: int) -> Row:
    """Which model, and where the run is."""
    shown = state.shown
    if shown is None:
        return row((" llmdbg  ", "strong"), (sanitize(state.model), "dim"))
    where = whereabouts(state, shown)
    points = sum(each.enabled for each in shown.breakpoints)
    marked = f" · ● {counted(points, 'breakpoint')}" if width >= _WIDE else f" · ● {points}"
    brand = " llmdbg  " if width >= _WIDE else " "
    warned = _warned(shown, wide=width >= _WIDE)
    right = f"{where}{marked if points else ''}{_changed(shown, wide=width >= _WIDE)} "
    about = _about(shown, max(0, width - len(brand) - cell_len(warned + right) - 2))
    gap = max(2, width - len(brand) - cell_len(about) - cell_len(warned + right))
    return row((brand, "strong"), (about, "dim"), " " * gap, *([(warned, "warn")] if warned else []), (right, "accent"))


def _about(shown: Snapshot, room: int) -> str:
    """The model, where it is, and how tokens are chosen; in less room what was changed last, and how much is left out.

    The model's name is cut before that.
    """
    settings = settings_of(shown.sampling)
    changed = [each for each in settings if each in shown.changed_settings]
    others = [each for each in (shown.place, *settings) if each and each not in changed]
    model = sanitize(shown.model)
    whole = " · ".join((model, *filter(None, (shown.place, *settings))))
    if cell_len(whole) <= room:
        return whole
    for kept in range(len(others) - 1, -1, -1):
        parts = [*changed, *others[:kept]]
        rest = " · ".join(["", *parts]) + f" +{len(others) - kept}"
        least = min(cell_len(model), _CUT_MODEL if kept else _LEAST_MODEL)
        if least + cell_len(rest) <= room:
            return fitted(model, min(cell_len(model), room - cell_len(rest))) + rest
    return fitted(whole, room).rstrip()


def _warned(shown: Snapshot, *, wide: bool) -> str:
    """What must not be overlooked for as long as it holds; `info model` and the explain pane say it in full."""
    since = shown.stop.not_finite_since
    if since is not None:
        return f"logits not finite since @{since} · " if wide else f"! NaN @{since} · "
    if shown.unsaved:
        return "not being saved · " if wide else "! not saved · "
    if shown.left_out:
        return "not all is saved · " if wide else "! not all saved · "
    return f"! {counted(shown.run_notes, 'note')} · " if shown.run_notes else ""


def _changed(shown: Snapshot, *, wide: bool) -> str:
    """The lane or the rank that is shown alone; what a step goes to, if not to modules; the branch; and its edits."""
    lane = "" if shown.lane is None else f" · lane {shown.lane}"
    rank = "" if shown.stop.rank is None else f" · rank {shown.stop.rank}"
    depth = f" · steps by {shown.depth}" if shown.depth and wide else f" · {shown.depth}s" if shown.depth else ""
    branch = f" · {'branch ' if wide else ''}{sanitize(shown.branch)}" if len(shown.branches) > 1 else ""
    edits = f" · {counted(shown.edits, 'edit')}" if shown.edits else ""
    return lane + rank + depth + branch + edits


def whereabouts(state: ScreenState, shown: Snapshot) -> str:
    """Where the run stands, or how far it has come."""
    total = f"/{shown.limit}" if shown.limit else ""
    if state.running:
        chosen = _chosen(state, shown)
        if chosen is None:
            return "running"
        return f"running · token {min(chosen + 1, shown.limit or chosen + 1)}{total}"
    if shown.end is not None:
        return f"ended · {counted(len(shown.end.ids), 'token')}"
    stage = shown.stop.stage
    if stage.layer is None:
        place = stage.address
    else:
        place = f"layer {stage.layer} of {shown.layers}" + (
            f" {stage.address.rpartition('.')[2]}" if stage.kind is StageKind.MODULE else ""
        )
    return f"{shown.stop.phase} · token {shown.stop.token + 1}{total} @{shown.stop.token} · {place}"


def _chosen(state: ScreenState, shown: Snapshot) -> int | None:
    """How many tokens the run has chosen; None until it reports one, if it began again from an end."""
    newest = state.run.tokens[-1].generated if state.run.tokens else None
    if newest is not None:
        return newest + 1
    return None if shown.end is not None else len(shown.tokens) - shown.prompt_length


def status_row(state: ScreenState, width: int) -> Row:
    """What has just happened, or during a run its progress."""
    if state.running and state.run.opening:
        return row((fitted(f" opening {sanitize(state.run.opening)}", width).rstrip(), "dim"))
    if state.running and state.shown is not None and (progress := _progress(state, state.shown)) is not None:
        label, part, place = progress
        return row((f" {label} ", "dim"), (bar_of(part, _RUN_BAR_WIDTH), "bar"), (f" {place} · space stops it", "dim"))
    text, style = state.status
    if state.touring and state.shown is not None and text == sanitize(sentence(state.shown)):
        text, style = tour_line(state), "accent"
    return row((fitted(f" {text}", width).rstrip(), style))


def _progress(state: ScreenState, shown: Snapshot) -> tuple[str, float, str] | None:
    run = state.run
    if run.layers and not run.tokens:
        return "prefill", run.layer / run.layers, f"layer {run.layer} of {run.layers}"
    done = _chosen(state, shown)
    if shown.limit and done is not None:
        return "running", done / shown.limit, f"{counted(done, 'token')} of at most {shown.limit}"
    return None


def footer_row(actions: Sequence[Action], width: int) -> Row:
    """The most useful keys; those of least weight are dropped if there is no room."""
    labelled = [action for action in actions if action.label and action.keys]
    while sum(map(_entry_width, labelled)) > width and len(labelled) > 1:
        labelled.remove(min(reversed(labelled), key=lambda action: action.weight))
    return row(*(span for action in labelled for span in _entry(action)))


def _entry(action: Action) -> tuple[Span, Span]:
    key = action.shown_keys.split()[0]
    return Span(f" {key} ", "key", action.name), Span(f"{action.label} ", "dim", action.name)


def _entry_width(action: Action) -> int:
    return sum(cell_len(span.text) for span in _entry(action))


def tab_row(tabs: Sequence[Pane], opened: Collection[str], width: int) -> Row:
    """The tabs with their keys: all names, spaced or close together, the first that fit, or the open ones."""
    every = len(tabs)
    close = [(named, "{}", " ") for named in range(every, every // 2, -1)]
    for named, label, between in ((every, " {} ", "│"), *close, (0, " {} ", "│"), (0, "{}", " ")):
        spans = [_tab(pane, pane.name in opened, label, named=at < named) for at, pane in enumerate(tabs)]
        joined = [each for span in spans for each in (span, Span(between, "dim"))][:-1]
        if sum(cell_len(span.text) for span in joined) <= width:
            break
    return row(*joined)


def _tab(pane: Pane, here: bool, label: str, *, named: bool) -> Span:
    text = f"{shown_key(pane.key)} {pane.name}" if named or here else shown_key(pane.key)
    return Span(label.format(text), "tab-on" if here else "tab", f"show {pane.name}")
