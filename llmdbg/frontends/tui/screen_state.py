"""What the screen shows besides the snapshot: selection, folding, live tokens, overlay, status. No widgets."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from llmdbg.frontends.tui.panes.answer import answer_rows
from llmdbg.frontends.tui.panes.bars import footer_row, header_row, help_rows, loading_rows
from llmdbg.frontends.tui.panes.candidates import candidate_rows
from llmdbg.frontends.tui.panes.stages import stage_rows, visible_stages
from llmdbg.frontends.tui.panes.tensor import tensor_rows
from llmdbg.frontends.tui.panes.tokens import TokenFlow
from llmdbg.frontends.tui.rows import Row, fitted, row
from llmdbg.frontends.visible import visible
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.stop import TokenRow
    from llmdbg.frontends.tui.snapshot import Snapshot
    from llmdbg.models.spec import LoadProgress
    from llmdbg.models.stages import Stage


class Overlay(Enum):
    """What lies over the lower panes."""

    ANSWER = "answer"
    HELP = "help"
    OUTPUT = "output"


class ScreenState:
    """The screen's own state, and the rows of every pane made from it."""

    def __init__(self, model: str) -> None:
        self.shown: Snapshot | None = None
        self.progress: LoadProgress | None = None
        self.running = False
        self.live: tuple[TokenRow, ...] = ()
        self.overlay: Overlay | None = None
        self.output: tuple[str, tuple[str, ...]] = ("", ())
        self.selected = "tokenize"
        self._model = model
        self._status: tuple[str, str] = ("", "dim")
        self._unfolded: set[int | None] = set()
        self._flow = TokenFlow()

    def arrive(self, shown: Snapshot) -> None:
        """Take over a new snapshot."""
        before, self.shown = self.shown, shown
        self.running, self.live = False, ()
        moved = before is None or before.stop != shown.stop
        if moved:
            self.selected = shown.stop.stage.address
            self.overlay = Overlay.ANSWER if shown.end is not None else None

    def say(self, text: str, style: str = "dim") -> None:
        """Put a sentence on the status line."""
        self._status = (visible(text), style)

    def select(self, by: int) -> None:
        """Move the selection among the stages on screen."""
        addresses = [stage.address for stage in self._stages()]
        index = self.selected_line() + by
        if addresses:
            self.selected = addresses[max(0, min(len(addresses) - 1, index))]

    def unfold(self, *, unfolded: bool) -> None:
        """Show or hide the modules of the selected stage's layer."""
        stage = next((each for each in self._stages() if each.address == self.selected), None)
        if stage is None or stage.layer is None:
            return
        if unfolded:
            self._unfolded.add(stage.layer)
        else:
            self._unfolded.discard(stage.layer)
            self.selected = str(stage.layer) if stage.kind is StageKind.MODULE else self.selected

    def breakpoint_command(self) -> str:
        """The command that sets a breakpoint at the selected stage, or deletes the one that is there."""
        assert self.shown is not None
        point = self.shown.breakpoint_at(self.selected)
        return f"break {self.selected}" if point is None else f"delete {point.number}"

    def header(self, width: int) -> Row:
        """The first line."""
        if self.shown is None:
            return row((" llmdbg  ", "strong"), (visible(self._model), "dim"))
        return header_row(self.shown, len(self._all_tokens()) - self.shown.prompt_length, self.running, width)

    def status(self, width: int) -> Row:
        """The line above the keys."""
        text, style = self._status
        return row((f" {fitted(text, max(0, width - 1)).rstrip()}", style))

    def footer(self, width: int) -> Row:
        """The keys."""
        return footer_row(width) if self.shown is not None else row((" q ", "key"), ("quit", "dim"))

    def loading(self, width: int, height: int) -> list[Row]:
        """The loading screen."""
        return loading_rows(self._model, self.progress, width, height)

    def tokens(self, width: int) -> list[Row]:
        """The token flow."""
        assert self.shown is not None
        return self._flow.lay_out(self._all_tokens(), width, self._focus())

    def token_line(self) -> int:
        """The line of the token flow that must be seen."""
        focus = self._focus()
        return 1 << 30 if focus is None else self._flow.line_of(focus)

    def stages(self, width: int) -> list[Row]:
        """The stage list."""
        assert self.shown is not None
        return stage_rows(self.shown, self._stages(), self.selected, width)

    def selected_line(self) -> int:
        """The line of the selected stage; that of the stage the run stands at when it is folded away."""
        assert self.shown is not None
        addresses = [stage.address for stage in self._stages()]
        for wanted in (self.selected, self.shown.stop.stage.address):
            if wanted in addresses:
                return addresses.index(wanted)
        return 0

    def tensor(self, width: int) -> list[Row]:
        """The tensor pane."""
        assert self.shown is not None
        return tensor_rows(self.shown, width)

    def candidates(self, width: int) -> list[Row]:
        """The candidates pane."""
        assert self.shown is not None
        return candidate_rows(self.shown, width)

    def overlay_title(self) -> str:
        """The title of what lies over the panes."""
        if self.overlay is Overlay.OUTPUT:
            return visible(self.output[0])
        return self.overlay.value if self.overlay is not None else ""

    def overlay_rows(self, width: int) -> list[Row]:
        """What lies over the panes."""
        assert self.shown is not None
        if self.overlay is Overlay.HELP:
            return help_rows(width)
        if self.overlay is Overlay.OUTPUT:
            return [row(visible(line)) for line in self.output[1]]
        more = "".join("" if token.special else token.text for token in self.live)
        return answer_rows(self.shown, more, width)

    def _stages(self) -> list[Stage]:
        assert self.shown is not None
        return visible_stages(self.shown, self._unfolded)

    def _all_tokens(self) -> tuple[TokenRow, ...]:
        assert self.shown is not None
        known = len(self.shown.tokens)
        return (*self.shown.tokens, *(token for token in self.live if token.index >= known))

    def _focus(self) -> int | None:
        """The position that stands out: none while the run is on its way."""
        assert self.shown is not None
        return None if self.running else self.shown.focus
