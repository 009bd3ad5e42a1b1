"""What each layer so far would predict, the latest first, and what its parts add to the prediction's logit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.standing_questions import LensView
from llmdbg.formatting import counted, listed, percent
from llmdbg.frontends.answers.lens import prediction_history
from llmdbg.frontends.sanitize import quoted, sanitize
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.widgets.rows import Row, bar_of, fitted, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.probes.attribution import Attribution
    from llmdbg.probes.lens_table import LensRow, LensTable

_BAR, _PERCENT, _RANK, _ADDED = 4, 5, 8, 7
_LEAST_TEXT, _ENOUGH_TEXT, _MOST_TEXT = 8, 10, 16
_PARTS = ("attention", "mlp", "other")
_LEAST_SHOWN = 0.005


def latest(seen: object) -> LensRow | None:
    """The last row of the pane's answer; None if it has none."""
    if not isinstance(seen, LensView) or isinstance(seen.table, str) or not seen.table.rows:
        return None
    return seen.table.rows[-1]


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    seen: LensView | None = state.asked("lens")
    if seen is None:
        return [row(("…", "dim"))]
    if isinstance(seen.table, str):
        said = [row((line, "dim")) for line in wrapped(sanitize(seen.table), width)]
        return [*(row((line, "warn")) for line in _pinned(seen, width)), *said]
    table = seen.table
    columns = _Columns.of(table, seen.attribution, width)
    rows = [row((line, "warn")) for line in _pinned(seen, width)]
    rows += [row((line, "strong")) for line in wrapped(prediction_history(table), width)]
    rows.append(columns.titles())
    rows += [columns.line(each, state.snapshot.stop.token) for each in reversed(table.rows)]
    if columns.added:
        rows.append(columns.embedding())
    count, names = columns.left_out
    left_out = [f"+{count}: {listed(names)} have no room here; z zooms"] if count else []
    notes = [*left_out, *map(sanitize, table.notes)]
    return [*rows, *(row((line, "dim")) for note in notes for line in wrapped(note, width))]


def _pinned(seen: LensView, width: int) -> list[str]:
    """That the lens follows tokens that the user named, and how to undo it."""
    if not seen.pinned:
        return []
    return wrapped(f"pinned: follows {', '.join(map(quoted, seen.pinned))} · Esc unpins", width)


@dataclass(frozen=True, slots=True)
class _Columns:
    """What fits the width."""

    table: LensTable
    """What to show."""
    name: int
    """Width of the layer column, in cells."""
    text: int
    """Width of a token's text, in cells."""
    candidates: int
    """How many candidates a layer shows."""
    added: Mapping[int | None, Mapping[str, float]]
    """What each part of each layer adds to the logit, by layer and part; empty if there is no room."""
    parts: tuple[str, ...]
    """The parts with a column."""
    left_out: tuple[int, tuple[str, ...]]
    """How many columns there is no room for, and what they would show."""

    @classmethod
    def of(cls, table: LensTable, attribution: Attribution | None, width: int) -> _Columns:
        """Fill a width: the likeliest token and the rank come first, then the parts, then more candidates."""
        name = max(len(each.address) for each in table.rows)
        added = _added(attribution) if attribution is not None else {}
        parts = tuple(part for part in _PARTS if any(part in each for each in added.values()))
        left = width - name - 1 - _BAR - _RANK
        one = 1 + _PERCENT + 1
        left_out, dropped = tuple[str, ...](), 0
        if left < one + _LEAST_TEXT + _ADDED * len(parts):
            left_out, dropped, parts, added = tuple(map(_title, parts)), len(parts), (), {}
        left -= _ADDED * len(parts)
        most = len(table.rows[0].top)
        candidates = max(1, min(left // (one + _ENOUGH_TEXT), most))
        text = left // candidates - one
        if candidates < most:
            left_out = (counted(most - candidates, "more candidate"), *left_out)
        hidden = (dropped + most - candidates, left_out)
        return cls(table, name, max(3, min(_MOST_TEXT, text)), candidates, added, parts, hidden)

    def titles(self) -> Row:
        """The names of the columns."""
        prediction = self.table.prediction
        rank = "" if prediction is None else fitted(quoted(prediction.text), _RANK - 1).rstrip()
        parts = "".join(f"{_title(part):>{_ADDED}}" for part in self.parts)
        more = f" +{self.left_out[0]}" if self.left_out[0] else ""
        candidates = fitted(f"likeliest{more}", _BAR + 1 + self.candidates * (_PERCENT + 1 + self.text + 1) - 1)
        return row((f"{'':{self.name}} {candidates}{rank:>{_RANK}}{parts}", "dim"))

    def line(self, each: LensRow, token: int) -> Row:
        """What one layer would predict, the prediction's rank there, and what the layer's parts add to its logit.

        Picking it goes to that layer of `token`.
        """
        best, *others = each.top[: self.candidates]
        followed = each.followed[0]
        style = "good" if followed.rank == 1 and math.isfinite(followed.prob) else ""
        more = "".join(
            f" {percent(other.prob, 0):>{_PERCENT}} {fitted(quoted(other.text), self.text)}" for other in others
        )
        added = self.added.get(each.layer, {}) if each.layer is not None else {}
        return row(
            (f"{each.address:>{self.name}} ", "dim"),
            (bar_of(best.prob, _BAR), "bar"),
            f" {percent(best.prob, 0):>{_PERCENT}} ",
            (fitted(quoted(best.text), self.text), style),
            (more, "dim"),
            (f"{_rank(followed.rank):>{_RANK}}", style or "dim"),
            *(_part(added.get(part)) for part in self.parts),
            do=f"goto {each.address}@{token}",
        )

    def embedding(self) -> Row:
        """What the embedding and the constant add."""
        first = self.added.get(None, {})
        added = ", ".join(f"{name} {value:+.2f}" for name, value in first.items())
        return row((f"{'':{self.name}} and {added}", "dim"))


def _added(attribution: Attribution) -> dict[int | None, dict[str, float]]:
    """What the parts of each kind add, by layer; the embedding and the constant under None."""
    found: dict[int | None, dict[str, float]] = {}
    for term in attribution.terms:
        what = term.what if term.layer is None or term.what in _PARTS else "other"
        of_layer = found.setdefault(term.layer, {})
        of_layer[what] = of_layer.get(what, 0.0) + term.value
    return found


def _title(part: str) -> str:
    return "attn" if part == "attention" else part


def _part(value: float | None) -> tuple[str, str]:
    if value is None:
        return " " * _ADDED, ""
    style = "" if abs(value) < _LEAST_SHOWN else "good" if value > 0 else "bad"
    return f"{value:>+{_ADDED}.2f}", style


def _rank(rank: int) -> str:
    return f"#{rank:,}"


PANE = Pane(
    "lens",
    "5",
    PaneSlot.TAB,
    _draw,
    question="lens",
    picks=True,
    about="what each layer would say if generation stopped there",
)
