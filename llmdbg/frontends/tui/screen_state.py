"""What the screen shows besides the snapshot: selection, folding, live tokens, search, overlay, status. No widgets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.panes.stages import StageTree
from llmdbg.frontends.tui.panes.tokens import TokenFlow, TokenMode
from llmdbg.frontends.tui.stage_progress import when_hit
from llmdbg.frontends.tui.worker.execution_order import path_in_layer

if TYPE_CHECKING:
    from collections.abc import Collection

    from llmdbg.debugger.execution.stop import TokenRow
    from llmdbg.frontends.log import LogBook
    from llmdbg.frontends.tui.worker.snapshot import Snapshot
    from llmdbg.models.spec import LoadProgress
    from llmdbg.models.stages import Stage


class Overlay(Enum):
    """What lies over the lower panes."""

    ANSWER = "answer"
    HELP = "help"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run has come: tokens chosen since it went on, their probabilities, and the layers of a prefill."""

    tokens: tuple[TokenRow, ...] = ()
    probabilities: tuple[float | None, ...] = ()
    layer: int = 0
    layers: int = 0


@dataclass(frozen=True, slots=True)
class SearchHits:
    """What a search found: token positions and stage addresses."""

    query: str = ""
    tokens: frozenset[int] = frozenset()
    stages: frozenset[str] = frozenset()


class ScreenState:
    """The screen's own state, for panes to draw from."""

    def __init__(self, model: str, book: LogBook | None = None) -> None:
        self.model = model
        self.book = book
        self.shown: Snapshot | None = None
        self.progress: LoadProgress | None = None
        self.running = False
        self.touring = False
        self.run = RunProgress()
        self.overlay: Overlay | None = None
        self.output: tuple[str, tuple[str, ...]] = ("", ())
        self.selected = "tokenize"
        self.status: tuple[str, str] = ("", "dim")
        self.token_mode = TokenMode.TEXT
        self.found = SearchHits()
        self.flow = TokenFlow()
        self.tree = StageTree(())
        self._unfolded: set[str] = set()
        self._seen: tuple[tuple[StageTree, frozenset[str], str], list[Stage]] | None = None

    @property
    def snapshot(self) -> Snapshot:
        """Where the session stands; panes are only drawn once it stands somewhere."""
        assert self.shown is not None
        return self.shown

    def arrive(self, shown: Snapshot) -> None:
        """Take over a new snapshot."""
        before, self.shown = self.shown, shown
        self.running, self.run = False, RunProgress()
        if self.tree.stages is not shown.stages:
            self.tree = StageTree(shown.stages)
        if before is None or before.stop != shown.stop:
            self.selected = shown.stop.stage.address
            self.overlay = Overlay.ANSWER if shown.end is not None else None

    def asked(self, pane: str) -> Any:
        """What a pane asked for at this stop; None where it has not been asked yet."""
        return self.snapshot.asked.get(pane)

    def say(self, text: str, style: str = "dim") -> None:
        """Put a sentence on the status line."""
        self.status = (sanitize(text), style)

    def tokens(self) -> tuple[TokenRow, ...]:
        """The whole sequence, with what was chosen since the last stop."""
        known = self.snapshot.tokens
        return (*known, *self._fresh()) if self.run.tokens else known

    def probabilities(self) -> tuple[float | None, ...]:
        """How likely each generated token was."""
        known = self.snapshot.probabilities
        fresh = len(self._fresh())
        return (*known, *self.run.probabilities[-fresh:]) if fresh else known

    def focus(self) -> int | None:
        """The position that stands out: none while the run is on its way."""
        return None if self.running else self.snapshot.focus

    def token_matches(self) -> Collection[int]:
        """The positions a search found."""
        return self.found.tokens

    def stage_matches(self) -> Collection[str]:
        """The stages a search found."""
        return self.found.stages

    def stages(self) -> list[Stage]:
        """The stages on screen."""
        key = (self.tree, frozenset(self._unfolded), self.snapshot.stop.stage.address)
        if self._seen is None or self._seen[0] != key:
            self._seen = (key, self.tree.seen(self._unfolded, key[2]))
        return self._seen[1]

    def is_unfolded(self, address: str) -> bool:
        """Whether the parts of a stage are on screen."""
        return address in self._unfolded or address in self.tree.around(self.snapshot.stop.stage.address)

    def select(self, address: str) -> None:
        """Select a stage, unfolding what it is part of."""
        self._unfolded.update(self.tree.around(address))
        self.selected = address

    def show_whole(self, title: str, lines: tuple[str, ...], width: int) -> None:
        """Show what was said over the panes as well, where it is too long for the one line of a screen this wide."""
        if any(cell_len(sanitize(line)) > width - 2 for line in lines):
            self.overlay, self.output = Overlay.OUTPUT, (title, lines)

    def move_selection(self, by: int) -> None:
        """Select the stage so many lines further down."""
        addresses = [stage.address for stage in self.stages()]
        if addresses:
            self.selected = addresses[max(0, min(len(addresses) - 1, self.selected_line() + by))]

    def fold(self, address: str, *, unfolded: bool | None = None) -> None:
        """Show or hide the parts of a stage; those of what surrounds it where it has none. None turns it over."""
        if not self.tree.has_parts(address):
            outer = self.tree.parent(address)
            if outer is None or unfolded:
                return
            address = outer
        if unfolded if unfolded is not None else address not in self._unfolded:
            self._unfolded.add(address)
            return
        self._unfolded.discard(address)
        if self.selected not in {stage.address for stage in self.stages()}:
            self.selected = address

    def selected_line(self) -> int:
        """The line of the selected stage; that of the stage the run stands at when it is folded away."""
        addresses = [stage.address for stage in self.stages()]
        for wanted in (self.selected, self.snapshot.stop.stage.address):
            if wanted in addresses:
                return addresses.index(wanted)
        return 0

    def when_hit(self, before: Snapshot) -> str:
        """When the breakpoint that was set since an earlier snapshot will be hit; empty where none was."""
        known = {point.number for point in before.breakpoints}
        fresh = [point for point in self.snapshot.breakpoints if point.number not in known]
        return when_hit(self.snapshot, self.tree, fresh[-1]) if fresh else ""

    def unfolded_parts(self, address: str) -> str:
        """What to say of the parts of a stage that has just been unfolded."""
        parts = [each for each in self.tree.stages if self.tree.parent(each.address) == address]
        if not self.is_unfolded(address) or all(path_in_layer(each) in self.snapshot.ordered for each in parts):
            return ""
        return f"parts of {address} as the model lists them · s steps through them as they run"

    def breakpoint_command(self, address: str) -> str:
        """The command that sets a breakpoint at a stage, or deletes the one that is there."""
        point = self.snapshot.breakpoint_at(address)
        return f"break {address}" if point is None else f"delete {point.number}"

    def next_token_mode(self) -> None:
        """Text, text with ids, a table, and text again."""
        modes = list(TokenMode)
        self.token_mode = modes[(modes.index(self.token_mode) + 1) % len(modes)]

    def _fresh(self) -> tuple[TokenRow, ...]:
        known = len(self.snapshot.tokens)
        return tuple(token for token in self.run.tokens if token.index >= known)
