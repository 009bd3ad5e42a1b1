"""The lines above and below the panes, and the loading screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from llmdbg.frontends.tui.actions import ACTIONS, Action
from llmdbg.frontends.tui.panes.candidates import bar_of
from llmdbg.frontends.tui.rows import Row, Span, fitted, row, wrapped
from llmdbg.frontends.visible import visible
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.frontends.tui.snapshot import Snapshot
    from llmdbg.models.spec import LoadProgress

_WHAT_A_STAGE_IS = (
    "A stage is a place where the model can be stopped: it has just run, and the panes show what came out of it. "
    "▶ is where the run stands, ● is a breakpoint, ○ one that is off."
)
_KEYS_WIDTH = 14
_LOADING_BAR_WIDTH = 40
_WIDE = 100


def header_row(shown: Snapshot, generated: int, running: bool, width: int) -> Row:
    """Which model, and where the run is. `generated` counts the tokens chosen so far."""
    where = _where(shown, generated, running)
    points = sum(each.enabled for each in shown.breakpoints)
    brand = " llmdbg  " if width >= _WIDE else " "
    right = f"{where} · ● {points} " if points else f"{where} "
    about = f"{visible(shown.model)} · {shown.place} · {shown.sampling}"
    about = fitted(about, max(0, width - len(brand) - cell_len(right) - 2)).rstrip()
    gap = max(2, width - len(brand) - cell_len(about) - cell_len(right))
    return row((brand, "strong"), (about, "dim"), " " * gap, (right, "accent"))


def _where(shown: Snapshot, generated: int, running: bool) -> str:
    total = f"/{shown.limit}" if shown.limit else ""
    if running:
        return f"running · token {generated}{total}"
    if shown.end is not None:
        return f"ended · {len(shown.end.ids)} tokens"
    stage = shown.stop.stage
    if stage.layer is None:
        place = stage.address
    else:
        place = f"layer {stage.layer} of {shown.layers}" + (
            f" {stage.address.rpartition('.')[2]}" if stage.kind is StageKind.MODULE else ""
        )
    return f"{shown.stop.phase} · token {shown.stop.token + 1}{total} · {place}"


def footer_row(width: int) -> Row:
    """The keys worth knowing, from the action list; those of least weight go where there is no room."""
    actions = [action for action in ACTIONS if action.label]
    while sum(map(_entry_width, actions)) > width and len(actions) > 1:
        actions.remove(min(actions, key=lambda action: action.weight))
    return row(*(span for action in actions for span in _entry(action)))


def _entry(action: Action) -> tuple[Span, Span]:
    return (f" {action.shown_keys.split()[0]} ", "key"), (f"{action.label} ", "dim")


def _entry_width(action: Action) -> int:
    return sum(cell_len(text) for text, _ in _entry(action))


def help_rows(width: int) -> list[Row]:
    """Every key and what it does, from the action list."""
    return [
        *(row(line) for line in wrapped(_WHAT_A_STAGE_IS, width)),
        row(),
        *(line for action in ACTIONS for line in _help_of(action, width)),
        row(),
        row(("Esc closes this.", "dim")),
    ]


def _help_of(action: Action, width: int) -> list[Row]:
    first, *others = wrapped(action.help, max(10, width - _KEYS_WIDTH))
    head = row((f"  {action.shown_keys}".ljust(_KEYS_WIDTH), "key"), first)
    return [head, *(row(" " * _KEYS_WIDTH, line) for line in others)]


def loading_rows(model: str, progress: LoadProgress | None, width: int, height: int) -> list[Row]:
    """The model's name, the stage of loading, a bar and the bytes, in the middle of the screen."""
    stage = "starting" if progress is None else progress.stage
    lines: list[Row] = [row((visible(model), "strong")), row(), row((f"{stage} …", ""))]
    if progress is not None and progress.total:
        part = progress.done / progress.total
        lines.append(row((bar_of(part, _LOADING_BAR_WIDTH), "bar")))
        lines.append(row((f"{_megabytes(progress.done)} of {_megabytes(progress.total)}", "dim")))
    elif progress is not None and progress.done:
        lines.append(row((_megabytes(progress.done), "dim")))
    top = max(0, (height - len(lines)) // 2)
    return [*([row()] * top), *(_centred(line, width) for line in lines)]


def _centred(line: Row, width: int) -> Row:
    space = max(0, (width - cell_len(line.text)) // 2)
    return Row(((" " * space, ""), *line.spans), line.fill)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
