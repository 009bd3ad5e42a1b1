"""The loading screen: the prompt's tokens once they are known, the steps of the start, and the keys that wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from llmdbg.formatting import byte_count, counted, seconds
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.panes.tokens import prompt_table
from llmdbg.frontends.tui.state.token_flow import TokenFlow
from llmdbg.frontends.tui.widgets.rows import Row, Span, bar_of, fitted, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.worker.loading_state import LoadingState
    from llmdbg.models.load_steps import StepsTaken

_BAR_WIDTH = 40
_STEP_WIDTH = 58


def loading_rows(
    model: str, loading: LoadingState, width: int, height: int, kept: str = "", printed: Sequence[str] = ()
) -> list[Row]:
    """The rows of the whole screen; `kept` keys wait for the first stop, and `printed` a program has printed."""
    steps = _step_rows(model, loading.steps, width)
    if printed:
        steps += [row(), *(row((fitted(sanitize(line), width).rstrip(), "dim")) for line in printed)]
    if kept:
        steps += [row(), row((fitted(f"kept for the first stop: {kept}", width).rstrip(), "accent"))]
    tokens = _token_rows(loading, width, height - len(steps) - 1) if loading.tokens else []
    above = max(0, (height - len(tokens) - len(steps)) // 2)
    return [*tokens, *([row()] * above), *(_centred(line, width) for line in steps)]


def _step_rows(model: str, taken: StepsTaken, width: int) -> list[Row]:
    lines = [row((sanitize(model), "strong")), row()]
    wide = min(_STEP_WIDTH, width)
    lines += [_step("✓", step, seconds(took), "dim", wide) for step, took in taken.done]
    progress = taken.progress
    lines.append(_step("▶", taken.present if progress is None else _detail(taken), "", "", wide))
    lines += [_step(" ", step, "", "dim", wide) for step in taken.to_come]
    if progress is not None and progress.total:
        lines += [
            row(),
            row((bar_of(progress.done / progress.total, min(_BAR_WIDTH, width)), "bar")),
            row((f"{byte_count(progress.done)} of {byte_count(progress.total)}", "dim")),
        ]
    elif progress is not None and progress.done:
        lines += [row(), row((byte_count(progress.done), "dim"))]
    return lines


def _detail(taken: StepsTaken) -> str:
    """The present step, with what it is doing if that has a name of its own."""
    assert taken.progress is not None
    stage = sanitize(taken.progress.stage)
    return stage if stage.startswith(taken.present) else f"{taken.present}: {stage}"


def _step(sign: str, text: str, took: str, style: str, width: int) -> Row:
    return row((sign, "accent"), (f" {fitted(text, max(1, width - 10))}{took:>8}", style))


def _token_rows(loading: LoadingState, width: int, height: int) -> Sequence[Row]:
    """The prompt's tokens: as a table if all have room, else as text with ids, cut where the room ends."""
    if height < 2:
        return []
    title = row((f"the prompt, {counted(loading.count, 'token')}", "dim"))
    if loading.count == len(loading.tokens) and loading.count + 2 <= height:
        return [title, *prompt_table(loading.tokens, width)]
    flow = TokenFlow()
    flow.lay_out(loading.tokens, (), width, ids=True)
    rows = flow.rows(None, ())
    if len(rows) + 1 <= height and loading.count == len(loading.tokens):
        return [title, *rows]
    return [title, *rows[: height - 2], row(("… and more", "dim"))]


def _centred(line: Row, width: int) -> Row:
    space = max(0, (width - cell_len(line.text)) // 2)
    return Row((Span(" " * space), *line.spans), line.fill)
