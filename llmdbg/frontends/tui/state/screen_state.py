"""All of the screen's own state: what is visible, selected, unfolded, typed, found and said. No widgets.

Actions and messages of the engine thread change it; panes and bars are drawn from it and change nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from llmdbg.debugger.inspection.standing_questions import LensView
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.presets import Room
from llmdbg.frontends.tui.state.command_log import CommandLog
from llmdbg.frontends.tui.state.search import Index, Matches
from llmdbg.frontends.tui.state.sentences import sentence
from llmdbg.frontends.tui.state.stage_progress import can_be_looked_at, when_hit
from llmdbg.frontends.tui.state.stage_tree import StageTree
from llmdbg.frontends.tui.state.text_search import TextSearch
from llmdbg.frontends.tui.state.token_flow import TokenFlow, TokenMode, described
from llmdbg.frontends.tui.state.view import View
from llmdbg.frontends.tui.worker.loading_state import LoadingState
from llmdbg.frontends.tui.worker.snapshot import RunProgress

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from llmdbg.debugger.execution.stop import TokenRow
    from llmdbg.frontends.log import LogBook
    from llmdbg.frontends.tui.state.picker import Picker
    from llmdbg.frontends.tui.worker.snapshot import Snapshot
    from llmdbg.models.stages import Stage
    from llmdbg.probes.sampling_choice import SamplingChoice

_LONGEST_SENTENCE = 2_000  # characters: more than any status line has cells


class Overlay(Enum):
    """What overlays the lower panes."""

    ANSWER = "answer"
    HELP = "help"
    OUTPUT = "output"
    PAGE = "page"
    PICK = "pick"


class Typing(Enum):
    """What is being typed at the bottom of the screen."""

    COMMAND = ":"
    PICK = ">"
    SEARCH = "/"
    LINE = "stdin"


@dataclass(slots=True, eq=False)
class ScreenState:
    """Everything that the screen shows, apart from the engine."""

    model: str
    """The model's name as the user gave it, shown until a session has started."""

    book: LogBook | None = None
    """The output and logs of libraries; None in a test without them."""

    commands: CommandLog = field(default_factory=CommandLog)
    """The commands run so far and their answers."""

    view: View = field(default_factory=View)
    """Which panes the user chose."""

    in_view: tuple[str, ...] = ()
    """The names of the visible panes, whose questions the engine thread answers."""

    room: Room = Room.NARROW
    """How much fits on the screen."""

    shown: Snapshot | None = None
    """The current stop, with the answers for the visible panes; None before the first."""

    looked: Snapshot | None = None
    """An earlier stage of the same token that the user looks at, with the answers about it; None for the stop."""

    loading: LoadingState = field(default_factory=LoadingState)
    """How far loading has come."""

    kept: str = ""
    """The keys that wait for the first stop, as the user knows them."""

    running: bool = False
    """Whether a command has been running long enough to say so."""

    run: RunProgress = field(default_factory=RunProgress)
    """How far that command has come."""

    touring: bool = False
    """Whether `n` and Enter go to the next stop of the tour."""

    overlay: Overlay | None = None
    """What overlays the lower panes; None for nothing."""

    opened_meanwhile: bool = False
    """Whether it was opened while something ran, whose end leaves it open."""

    output: tuple[str, tuple[str, ...]] = ("", ())
    """The title and lines of `Overlay.OUTPUT`: a command, and what it answered."""

    page: str = ""
    """The name of the page that is open, or was last."""

    picker: Picker | None = None
    """The list to pick from; None while none is open."""

    staying: str = ""
    """How the command line begins whose arrival leaves the page open: it was given there, about one of its rows."""

    behind: Overlay | None = None
    """What closing `Overlay.OUTPUT` shows again: the page from which it was asked for; None for the panes."""

    typing: Typing | None = None
    """What the user is typing; None while keys are actions."""

    asks_for_line: bool = False
    """Whether the program waits for a line of its stdin."""

    selected: str = "tokenize"
    """The address of the selected stage."""

    picked: str = ""
    """What the picked row of the page or pane that has the keys is known by; empty for its first row."""

    wanted: SamplingChoice | None = None
    """What the sliders of the candidates pane stand at; None until one has been moved at this stop."""

    status: tuple[str, str] = ("", "dim")
    """The sentence on the status line and the name of its style."""

    token_mode: TokenMode = TokenMode.TEXT
    """How the tokens pane shows the sequence."""

    found: Matches = field(default_factory=Matches)
    """The matches of the last search, for the panes to highlight; empty without one."""

    found_text: TextSearch = field(default_factory=TextSearch)
    """The last search in a pane that shows a text, instead of `found`."""

    flow: TokenFlow = field(default_factory=TokenFlow)
    """The tokens pane's lines, kept so that another token does not lay out all of them again."""

    tree: StageTree = field(default_factory=lambda: StageTree(()))
    """The stages of `shown`, as a tree."""

    _unfolded: set[str] = field(default_factory=set)
    """The addresses of the stages that the user unfolded, besides those that enclose the current one."""

    _stages: tuple[Stage, ...] = ()
    """The stages that are not folded away."""

    _index: Index = field(default_factory=Index)
    """The sequence as text to search in, continued as tokens come."""

    _found_tokens: frozenset[int] = frozenset()
    """The positions in `found`, for quick look-up."""

    @property
    def snapshot(self) -> Snapshot:
        """The current stop. Panes are drawn only once there is one."""
        assert self.shown is not None
        return self.shown

    def printed(self, count: int) -> tuple[str, ...]:
        """The last lines that a program has printed, while it waits for one of its stdin."""
        if not self.asks_for_line or self.book is None:
            return ()
        return tuple(each.text for each in self.book.lines() if each.source == "stdout")[-count:]

    def to_look_at(self) -> str | None:
        """The selected stage, if it has run for this token and the run stands elsewhere."""
        shown = self.snapshot
        if self.running or self.selected == shown.stop.stage.address or not shown.goes_back:
            return None
        return self.selected if can_be_looked_at(shown, self.tree, self.selected) else None

    def described(self) -> ScreenState:
        """The state for the panes that describe a stage: about the one that is looked at, if there is one."""
        if self.looked is None or self.looked.stop.stage.address != self.to_look_at():
            return self
        about = copy.copy(self)
        about.shown = self.looked
        return about

    @property
    def has_keys(self) -> str:
        """The id of the widget that the arrow keys move: the chosen pane, or the overlay."""
        return self.view.pane if self.overlay is None else "text"

    def arrive(self, shown: Snapshot, command: str = "") -> None:
        """Show a new snapshot, to which a command led."""
        before, self.shown, self.looked = self.shown, shown, None
        self.running, self.run = False, RunProgress()
        if self.tree.stages is not shown.stages:
            self.tree = StageTree(shown.stages)
        if before is None or before.stop != shown.stop:
            # After a change of values at one place, the stage that is looked at stays in view.
            self.selected = self.selected if before and before.same_place(shown) else shown.stop.stage.address
            self.wanted = None
            stands = before is not None and before.same_place(shown) and before.branch == shown.branch
            if not stands:
                self.picked = ""
            stays = self._stays(command) or self.opened_meanwhile or (stands and self.overlay is Overlay.PAGE)
            if not stays and self.picker is None:
                self.overlay = Overlay.ANSWER if shown.end is not None and shown.end.stopped_by != "exit" else None
        self._refold()

    def note(self, before: Snapshot | None, command: str, whole: tuple[str, ...], error: str) -> None:
        """Keep a command and its answer or error in `commands`; of one that answers nothing, where the run stands."""
        if not command and not error and not whole:
            return
        stop = self.snapshot.stop
        place = () if whole or error else (f"{stop.stage.address}@{stop.token}: {self._news(before, ())}",)
        self.commands.add(command, (*whole, *place, *((error,) if error else ())), failed=bool(error))

    def report(self, before: Snapshot | None, command: str, answer: tuple[str, ...], error: str, width: int) -> None:
        """Show a command's answer or error, since `before`; in an overlay if the status line is too short."""
        stays = self._stays(command)
        self.staying = "" if stays else self.staying
        if error:
            self.say(error, "bad")
            self._show_whole(command, (error,), width)
        elif stays:
            # The page shows what has changed.
            self.say(self._news(before, answer))
        elif len(answer) > 1:
            self.say(sentence(self.snapshot))
            self._show_output(command, answer)
        else:
            self.say(self._news(before, answer))
            if command:  # what nobody asked for, such as a notice at the start, must not lie over the panes
                self._show_whole(command, answer, width)

    def _news(self, before: Snapshot | None, answer: Sequence[str]) -> str:
        shown = self.snapshot
        if answer:
            when = "" if before is None else self.when_hit(before, answer[0])
            return f"{answer[0].removesuffix(', hit 0 times')}: {when}" if when else answer[0]
        if before is not None and before.focus != shown.focus and before.same_place(shown):
            return described(shown.focused)
        return sentence(shown)

    def _show_whole(self, title: str, lines: tuple[str, ...], width: int) -> None:
        """Show the lines in an overlay too if one is too long for a status line of this width."""
        if any(cell_len(sanitize(line)) > width - 2 for line in lines):
            self._show_output(title, lines)

    def _show_output(self, title: str, lines: tuple[str, ...]) -> None:
        if self.overlay is not Overlay.OUTPUT:
            self.behind = Overlay.PAGE if self.overlay is Overlay.PAGE else None
        self.overlay, self.output = Overlay.OUTPUT, (title, lines)

    def _stays(self, command: str) -> bool:
        """Whether the page remains open when this command has been run."""
        return self.overlay is Overlay.PAGE and bool(self.staying) and command.startswith(self.staying)

    def asked(self, question: str) -> Any:
        """The answer to a pane's question at this stop: None before there is one, `Unanswered` if it failed."""
        return self.snapshot.answer_to(question)

    def pinned(self) -> bool:
        """Whether the lens is in view and follows tokens that the user named."""
        answer = self.asked("lens") if "lens" in self.in_view else None
        return isinstance(answer, LensView) and bool(answer.pinned)

    def say(self, text: str, style: str = "dim") -> None:
        """Put a sentence on the status line."""
        self.status = (sanitize(text[:_LONGEST_SENTENCE]), style)

    def tokens(self) -> tuple[TokenRow, ...]:
        """The whole sequence, including tokens chosen since the last stop."""
        known = self.snapshot.tokens if self.run.before is None else self.run.before
        return (*known, *self._fresh()) if self.run.tokens else known

    def probabilities(self) -> tuple[float | None, ...]:
        """The probability of each generated token, from 0 to 1; None if it was not recorded."""
        known = self.snapshot.probabilities if self.run.before is None else ()
        fresh = len(self._fresh())
        return (*known, *self.run.probabilities[-fresh:]) if fresh else known

    def focus(self) -> int | None:
        """The highlighted position; None during a run."""
        return None if self.running else self.snapshot.focus

    def next_token_mode(self) -> None:
        """Switch from text to text with ids, to a table, and back to text."""
        modes = list(TokenMode)
        self.token_mode = modes[(modes.index(self.token_mode) + 1) % len(modes)]

    def search(self, query: str) -> None:
        """Find a query in the sequence and among the stages; an empty one clears the matches."""
        self.found_text = TextSearch()
        self.found = self._index.matches(query, self.tokens(), self.snapshot.stages) if query else Matches()
        self._found_tokens = frozenset(self.found.tokens)

    def token_matches(self) -> Collection[int]:
        """The positions that match the search."""
        return self._found_tokens

    def stage_matches(self) -> Collection[str]:
        """The addresses of the stages that match the search."""
        return self.found.stages

    def stages(self) -> tuple[Stage, ...]:
        """The stages that are not folded away, top to bottom."""
        return self._stages

    def is_unfolded(self, address: str) -> bool:
        """Whether the parts of a stage are shown."""
        return address in self._unfolded or address in self.tree.enclosing(self.snapshot.stop.stage.address)

    def select(self, address: str) -> None:
        """Select a stage, unfolding those that enclose it."""
        self._unfolded.update(self.tree.enclosing(address))
        self.selected = address
        self._refold()

    def move_selection(self, by: int) -> None:
        """Select the stage this many lines further down."""
        addresses = [stage.address for stage in self._stages]
        if addresses:
            self.selected = addresses[max(0, min(len(addresses) - 1, self.selected_line() + by))]

    def fold(self, address: str, *, unfolded: bool | None = None) -> None:
        """Unfold or fold a stage; None toggles it. For a stage without parts, folds the one that encloses it."""
        if not self.tree.has_parts(address):
            outer = self.tree.parent(address)
            if outer is None or unfolded:
                return
            address = outer
        if unfolded if unfolded is not None else address not in self._unfolded:
            self._unfolded.add(address)
            self._refold()
            return
        self._unfolded.discard(address)
        self._refold()
        if self.selected not in {stage.address for stage in self._stages}:
            self.selected = address

    def selected_line(self) -> int:
        """The line of the selected stage, or of the current stage if that is folded away."""
        addresses = [stage.address for stage in self._stages]
        for wanted in (self.selected, self.snapshot.stop.stage.address):
            if wanted in addresses:
                return addresses.index(wanted)
        return 0

    def when_hit(self, before: Snapshot, answer: str) -> str:
        """When the breakpoint that was set since an earlier snapshot, as `answer` says, will be hit; else empty."""
        known = {point.number for point in before.breakpoints}
        fresh = [
            each for each in self.snapshot.breakpoints if each.number not in known and sanitize(each.line) == answer
        ]
        return when_hit(self.snapshot, self.tree, fresh[-1]) if fresh else ""

    def breakpoint_command(self, address: str) -> str:
        """The command that sets a breakpoint at a stage, or deletes the existing one."""
        point = self.snapshot.breakpoint_at(address)
        return f"break {address}" if point is None else f"delete {point.number}"

    def _refold(self) -> None:
        self._stages = self.tree.visible(self._unfolded, self.snapshot.stop.stage.address)

    def _fresh(self) -> tuple[TokenRow, ...]:
        known = len(self.snapshot.tokens if self.run.before is None else self.run.before)
        return tuple(token for token in self.run.tokens if token.index >= known)
