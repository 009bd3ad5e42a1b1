"""Temperature, top-k and top-p as sliders above the candidates, and the distribution they would give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.sampling_answer import SamplingView
from llmdbg.formatting import percent
from llmdbg.frontends.sanitize import quoted
from llmdbg.frontends.tui.state.sliders import SLIDE, SLIDERS, share, value_text
from llmdbg.frontends.tui.widgets.rows import Row, bar_of, fitted, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.inspection.sampling_answer import SamplingPreview
    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.probes.candidates import Candidate
    from llmdbg.probes.sampling_choice import SamplingChoice

_NAME, _VALUE, _BAR, _CHANCE = 13, 5, 8, 6
_SHORT_BAR, _WIDE = 4, 44
_LEAST_TRACK = 8
_ROOMY = 12  # lines
_GREEDY = " greedy: these count once set"


def sampling_view(state: ScreenState) -> SamplingView | None:
    """How tokens are chosen at the stop, for sliders: None where they can change nothing, or another stage is shown."""
    seen = state.asked("sampling")
    elsewhere = state.looked is not None and state.shown is state.looked
    return seen if isinstance(seen, SamplingView) and not elsewhere else None


def slider_rows(state: ScreenState, width: int, height: int) -> list[Row]:
    """A row for each slider; in a low pane only while it has the keys or one has been moved."""
    seen = sampling_view(state)
    if seen is None or (height < _ROOMY and state.has_keys != "candidates" and state.wanted is None):
        return []
    rows = [_slider(name, seen.now, state.wanted or seen.now, width) for name in SLIDERS]
    return rows if seen.samples else [*rows, row((fitted(_GREEDY, width).rstrip(), "dim"))]


def _slider(name: str, now: SamplingChoice, wanted: SamplingChoice, width: int) -> Row:
    track = max(_LEAST_TRACK, width - _NAME - _VALUE - 3)
    at = round(share(wanted, name) * (track - 1))
    moved = getattr(now, name) != getattr(wanted, name)
    return row(
        (fitted(f" {name.replace('_', '-')}", _NAME), "strong" if moved else ""),
        ("━" * at, "bar"),
        ("●", "accent"),
        ("─" * (track - 1 - at), "dim"),
        (f" {value_text(wanted, name):>{_VALUE}}", "strong" if moved else "dim"),
        do=f"{SLIDE} {name}",
    )


def preview_rows(state: ScreenState, width: int) -> list[Row] | None:
    """The distribution that the sliders would give, beside the one in force; None while none has been moved."""
    seen = sampling_view(state)
    if seen is None or state.wanted is None:
        return None
    preview = seen.preview
    if preview is None:
        return [row(("…", "dim"))]
    found = preview.found
    chosen = state.snapshot.stop.chosen
    left = f"{found.left:,} of {found.vocabulary:,} left · {found.entropy:.2f} nats"
    rows = [row((fitted(left, width).rstrip(), "dim"))]
    rows += [row((fitted(f"{note}", width).rstrip(), "warn")) for note in preview.notes]
    rows.append(row((f"    {'now':>{_CHANCE}}  {'would':>{_CHANCE}}", "dim")))
    best = chosen.id if chosen is not None else None
    return [*rows, *_rows(preview, best, width)]


def _rows(preview: SamplingPreview, chosen: int | None, width: int) -> Sequence[Row]:
    pairs = zip(preview.found.rows, preview.now, strict=True)
    return [_candidate(each, now, width, is_chosen=each.id == chosen) for each, now in pairs]


def _candidate(each: Candidate, now: float, width: int, *, is_chosen: bool) -> Row:
    style = "good" if is_chosen else "cut" if each.cut_by else ""
    bar = _BAR if width >= _WIDE else _SHORT_BAR
    room = max(3, width - 4 - 2 * (_CHANCE + 2) - bar - 1)
    return row(
        (f"{'▶' if is_chosen else ' '}{each.rank:2} ", "good" if is_chosen else "dim"),
        (f"{percent(now):>{_CHANCE}}  ", "dim"),
        (f"{'cut' if each.cut_by else percent(each.prob):>{_CHANCE}}", style),
        "  ",
        (bar_of(each.prob, bar), "bar"),
        " ",
        (fitted(quoted(each.text), room).rstrip(), style),
        do=f"force {each.id}",
    )
