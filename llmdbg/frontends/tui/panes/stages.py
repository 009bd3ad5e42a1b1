"""The stages of one token from top to bottom, in the order they complete; the present layer is unfolded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.tui.rows import Row, Span, fitted, row
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from collections.abc import Collection

    from llmdbg.frontends.tui.snapshot import Snapshot
    from llmdbg.models.stages import Stage

_NORM_WIDTH, _MS_WIDTH = 8, 9


def visible_stages(shown: Snapshot, unfolded: Collection[int | None]) -> list[Stage]:
    """The outline, with the modules of the unfolded layers and of the one the run is inside of."""
    here = shown.stop.stage
    inside = {here.layer} if here.depth > 1 else set()
    return [
        stage
        for stage in shown.stages
        if stage.depth == 1 or stage.layer in unfolded or (stage.layer in inside and _beside(stage, here))
    ]


def stage_rows(shown: Snapshot, stages: list[Stage], selected: str, width: int) -> list[Row]:
    """A row for each stage: where the run is, breakpoints, and what earlier stops of this token saw."""
    addresses = {stage.address for stage in stages}
    return [_stage_row(shown, stage, _name(stage, addresses), selected, width) for stage in stages]


def _stage_row(shown: Snapshot, stage: Stage, name: str, selected: str, width: int) -> Row:
    here = stage.address == shown.stop.stage.address
    point = shown.breakpoint_at(stage.address)
    mark: Span = ("  ", "") if point is None else ("● ", "bad") if point.enabled else ("○ ", "dim")
    values = _values(shown, stage)
    name_width = max(4, width - 4 - sum(len(text) for text, _ in values))
    style = "here" if here else "" if stage.depth == 1 else "dim"
    fill = "selected" if stage.address == selected else ""
    return row(("▶ " if here else "  ", "here"), mark, (fitted(name, name_width), style), *values, fill=fill)


def _name(stage: Stage, addresses: Collection[str]) -> str:
    """A module's name is told from the nearest stage around it that is on screen."""
    if stage.layer is not None and stage.kind is StageKind.MODULE:
        outer = stage.address.rpartition(".")[0]
        while outer and outer not in addresses:
            outer = outer.rpartition(".")[0]
        return "  " * (stage.depth - 1) + stage.address.removeprefix(f"{outer}.")
    if stage.kind is StageKind.PROCESSOR:
        return f"  {stage.address.partition('.')[2]}"
    return stage.address


def _values(shown: Snapshot, stage: Stage) -> tuple[Span, ...]:
    if stage.kind is StageKind.TOKENIZE:
        return ((f"{shown.prompt_length} tokens".rjust(_NORM_WIDTH + _MS_WIDTH), "dim"),)
    seen = shown.seen.get(stage.address)
    if seen is None:
        return ()
    norm = "" if seen.norm is None or stage.kind is StageKind.SAMPLE else f"‖{seen.norm:.4g}‖"
    scores = stage.kind in (StageKind.LOGITS, StageKind.PROCESSOR)
    broken = seen.not_finite and not scores
    time = "" if seen.ms is None else f"{seen.ms:.2f} ms"
    return (
        ((f"{seen.not_finite} bad" if broken else "" if scores else norm).rjust(_NORM_WIDTH), "bad" if broken else ""),
        (time.rjust(_MS_WIDTH), "dim"),
    )


def _beside(stage: Stage, here: Stage) -> bool:
    """Whether a stage of the present layer belongs on screen: its direct parts, and what surrounds the present one."""
    if stage.depth == 2:
        return True
    outer = stage.address.rpartition(".")[0]
    return here.address.startswith(f"{outer}.") or outer == here.address
