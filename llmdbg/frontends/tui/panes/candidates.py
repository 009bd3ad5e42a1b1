"""The likeliest next tokens here, and what temperature, penalties and cuts did to each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.predictions_answer import LayerPredictions
from llmdbg.formatting import percent
from llmdbg.frontends.sanitize import quoted
from llmdbg.frontends.tui.panes.lens import latest
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.panes.sliders import preview_rows, slider_rows
from llmdbg.frontends.tui.widgets.rows import Row, bar_of, fitted, row, wrapped
from llmdbg.models.stages import Phase, StageKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.probes.candidates import Candidate, Candidates, ScoreStep

_BAR_WIDTH, _SHORT_BAR_WIDTH = 8, 4
_STEP_WIDTH, _TEXT_WIDTH = 7, 10
_NOT_YET = "Candidates begin at `logits`, where every token of the vocabulary gets a score: f goes there."
_BACKWARD = "Candidates are read off the scores of a forward. Backward has none."
_NO_PROBABILITIES = "There are no probabilities: some scores are NaN or infinite. `info nonfinite` finds where from."
_NAMES = {"logits": "raw", "temperature": "temp", "repetition_penalty": "penalty"}


def _draw(state: ScreenState, width: int, height: int) -> Sequence[Row]:
    sliders = slider_rows(state, width, height)
    preview = preview_rows(state, width)
    return [*sliders, *(_distribution(state, width) if preview is None else preview)]


def _distribution(state: ScreenState, width: int) -> Sequence[Row]:
    stop = state.snapshot.stop
    found = stop.candidates
    if found is None:
        return _before_logits(state, width)
    if not found.has_probabilities():
        return [row((line, "warn")) for line in wrapped(_NO_PROBABILITIES, width)]
    chosen = stop.chosen.id if stop.chosen is not None else None
    columns = _columns(found, width) if stop.stage.kind is not StageKind.LOGITS else []
    left = "" if found.left == found.vocabulary else f"{found.left:,} of "
    rows = [row((f"{left}{found.vocabulary:,} left · {found.entropy:.2f} nats", "dim"))]
    rows += [row((f"{_name(address)} cut {count:,}", "warn")) for address, count in found.cuts]
    if columns:
        heads = "".join(f"{_head(address):>{_STEP_WIDTH - 1}} " for address in columns)
        left_out = len(found.rows[0].path) - 1 - len(columns)
        more = f" +{left_out} more" if left_out else ""
        rows.append(row((fitted(f"    {heads}   now{more}", width).rstrip(), "dim")))
    rows += [_candidate(each, columns, each.id == chosen, width) for each in found.rows]
    if found.former:
        rows.append(row((fitted("these led at logits:", width).rstrip(), "dim")))
    return [*rows, *(_candidate(each, columns, each.id == chosen, width) for each in found.former)]


def _before_logits(state: ScreenState, width: int) -> Sequence[Row]:
    """What the model would predict if it stopped here, by the lens, if a pane in view reads the layers."""
    if state.snapshot.stop.phase is Phase.BACKWARD:
        return [row((line, "dim")) for line in wrapped(_BACKWARD, width)]
    address, top = _by_lens(state)
    if not top:
        return [row((line, "dim")) for line in wrapped(_NOT_YET, width)]
    room = max(3, width - 4 - 6 - _BAR_WIDTH - 2)
    rows = [row((fitted(f"if it stopped after {address} (lens)", width).rstrip(), "dim"))]
    for rank, (text, prob) in enumerate(top, 1):
        chance = (f"{percent(prob):>6}", " ", (bar_of(prob, _BAR_WIDTH), "bar"), " ")
        rows.append(row((f" {rank:2} ", "dim"), *chance, fitted(quoted(text), room).rstrip()))
    return [*rows, row(), *(row((line, "dim")) for line in wrapped(_NOT_YET, width))]


def _by_lens(state: ScreenState) -> tuple[str, list[tuple[str, float]]]:
    """The newest layer that the lens has read, and the texts and probabilities of what it would predict there."""
    says = state.asked("layers")
    if isinstance(says, LayerPredictions) and says.layers:
        address, best = list(says.layers.items())[-1]
        return address, [(best.text, best.prob), *((text, prob) for _, text, prob in best.others)]
    here = latest(state.asked("lens"))
    return ("", []) if here is None else (here.address, [(each.text, each.prob) for each in here.top])


def _columns(found: Candidates, width: int) -> list[str]:
    """The earlier stages that fit: the raw logits first, then the latest."""
    before = [step.address for step in found.rows[0].path[:-1]] if found.rows else []
    room = max(1, (width - 4 - 6 - _SHORT_BAR_WIDTH - 2 - _TEXT_WIDTH) // _STEP_WIDTH)
    return before if len(before) <= room else [*before[:1], *(before[-(room - 1) :] if room > 1 else [])]


def _name(address: str) -> str:
    last = address.partition(".")[2] or address
    return _NAMES.get(last, last)


def _head(address: str) -> str:
    name = _name(address)
    return fitted(name, min(len(name), _STEP_WIDTH - 1))


def _candidate(candidate: Candidate, columns: Sequence[str], is_chosen: bool, width: int) -> Row:
    style = "good" if is_chosen else "cut" if candidate.cut_by else ""
    earlier = {step.address: step for step in candidate.path}
    steps = [(f"{_step(earlier[address]):>{_STEP_WIDTH - 1}} ", "dim") for address in columns]
    bar_width = _SHORT_BAR_WIDTH if columns else _BAR_WIDTH
    why = f" ✂ {_name(candidate.cut_by)}" if candidate.cut_by else ""
    if candidate.fell_at and not candidate.cut_by:
        why = f" ▼ {_name(candidate.fell_at)}"
    rank = f"{'▶' if is_chosen else ' '}{candidate.rank:2} "
    room = max(3, width - len(rank) - _STEP_WIDTH * len(columns) - 6 - bar_width - 2 - len(why))
    return row(
        (rank, "good" if is_chosen else "dim"),
        *steps,
        ("   cut" if candidate.cut_by else f"{percent(candidate.prob):>6}", style),
        " ",
        (bar_of(candidate.prob, bar_width), "bar"),
        " ",
        (fitted(quoted(candidate.text), room).rstrip(), style),
        (why, "dim"),
        do=f"force {candidate.id}",
    )


def _step(step: ScoreStep) -> str:
    return "cut" if step.logit == -math.inf else percent(step.prob)


PANE = Pane(
    "candidates",
    "4",
    PaneSlot.RIGHT,
    _draw,
    question="sampling",
    picks=True,
    draws_unanswered=True,
    about="the likeliest next tokens; ↑ goes to the sliders of temperature, top-k and top-p",
)
