"""The Textual app: keys and clicks in, command lines to the engine thread, snapshots back onto the panes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.css.query import NoMatches
from textual.driver import Driver
from textual.events import Event, Key, Paste
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widget import Widget

from llmdbg.frontends.log import LogBook
from llmdbg.frontends.tui.input.action_handler import COMMAND_OF, ActionHandler
from llmdbg.frontends.tui.input.history import History, history_path
from llmdbg.frontends.tui.input.keys import bound
from llmdbg.frontends.tui.input.preferences import THEMES as THEME_WORDS
from llmdbg.frontends.tui.input.preferences import Preferences
from llmdbg.frontends.tui.input.prompt import CommandLine
from llmdbg.frontends.tui.layout import NARROW, TALL, WIDE, View, in_view, view_of
from llmdbg.frontends.tui.panes import all_panes, keyed_actions
from llmdbg.frontends.tui.panes.pane import PaneSlot, Trouble
from llmdbg.frontends.tui.panes.tokens import described
from llmdbg.frontends.tui.screen_state import Overlay, ScreenState
from llmdbg.frontends.tui.sentences import sentence
from llmdbg.frontends.tui.terminal.terminal import TerminalLook, theme_for
from llmdbg.frontends.tui.terminal.themes import THEMES, VARIABLE_DEFAULTS, line_filters
from llmdbg.frontends.tui.widgets.bars import footer_row, header_row, loading_rows, status_row, tab_row
from llmdbg.frontends.tui.widgets.overlay import overlay_rows, overlay_title
from llmdbg.frontends.tui.widgets.row_pane import Header, LineBar, RowPane
from llmdbg.frontends.tui.widgets.rows import Row, row, wrapped
from llmdbg.frontends.tui.worker.engine_thread import EngineThread
from llmdbg.frontends.tui.worker.launch import LaunchRequest
from llmdbg.frontends.tui.worker.mailbox import Mailbox, MailCame
from llmdbg.frontends.tui.worker.messages import Arrived, BackgroundTold, Failed, Left, Loading, Running
from llmdbg.models.spec import DEMO_MODEL

if TYPE_CHECKING:
    from llmdbg.frontends.tui.panes.pane import Pane
    from llmdbg.frontends.tui.worker.snapshot import Snapshot

KEYED_ACTIONS = keyed_actions()
_SECONDS_TO_THE_FIRST_FRAME = 0.05
_SECONDS_BEFORE_RUNNING_SHOWS = 0.2
_SECONDS_BETWEEN_LOOKS_AT_THE_LOG = 0.25
_DEFAULTS = Preferences()
FIRST_VIEW, TOUR_VIEW = View("stages", "tensor", "explain"), View("explain", "explain", "explain")
_FULL_LOOK = TerminalLook("truecolor", unicode=True, light=False, multiplexer=None, term="xterm-256color")


class LlmdbgApp(App[BaseException]):
    """The screen of one debugger. Its return value is the error that kept it from starting, if one did."""

    TITLE = "llmdbg"
    CSS_PATH: ClassVar[list[str]] = ["style.tcss", "colors.tcss"]  # type: ignore[assignment]
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (NARROW, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (TALL, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            ",".join(action.keys), f"perform('{action.name}')", action.help, show=False, priority=True, id=action.name
        )
        for action in KEYED_ACTIONS
        if action.keys
    ]

    def __init__(
        self,
        request: LaunchRequest,
        preferences: Preferences = _DEFAULTS,
        look: TerminalLook = _FULL_LOOK,
        book: LogBook | None = None,
        driver_class: type[Driver] | None = None,
    ) -> None:
        self.look, self._preferences = look, preferences
        super().__init__(driver_class)
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = theme_for(look, preferences)
        self.animation_level = "none"
        self.actions, problems = bound(KEYED_ACTIONS, preferences.keys)
        # Textual takes an empty entry for none at all; no terminal sends this key.
        changed = zip(self.actions, KEYED_ACTIONS, strict=True)
        self.set_keymap({new.name: ",".join(new.keys) or "unbound" for new, old in changed if new.keys != old.keys})
        self.problems = (*preferences.problems, *problems)
        self.book = LogBook() if book is None else book
        self.on_running_at_last: Callable[[], object] = _nothing
        self.mailbox = Mailbox(lambda: self.post_message(MailCame()))
        self.engine = EngineThread(request, self.mailbox.put)
        self.state = ScreenState(request.spec.name or DEMO_MODEL, self.book)
        saved = {} if request.resumed is None else request.resumed.layout
        self.view = view_of(saved, all_panes(), TOUR_VIEW if request.tour else FIRST_VIEW)
        self.state.touring = request.tour
        self.handler = ActionHandler(self)
        self._log_seen = 0
        self._panes: dict[str, Pane] = {pane.name: pane for pane in all_panes()}
        self._widgets: dict[str, Widget] = {}

    def compose(self) -> ComposeResult:
        """Lay out every pane; what is in view is decided when there is something to show."""
        by_place: dict[PaneSlot, list[str]] = {}
        for pane in self._panes.values():
            by_place.setdefault(pane.place, []).append(pane.name)
        yield Header(id="header")
        yield RowPane(id="loading")
        yield from (self._pane_widget(name) for name in by_place[PaneSlot.TOKENS])
        with Horizontal(id="lower"):
            yield from (self._pane_widget(name) for name in by_place[PaneSlot.STAGES])
            with Vertical(id="right"):
                with Horizontal(id="upper"):
                    yield from (
                        self._pane_widget(name) for name in (*by_place[PaneSlot.MIDDLE], *by_place[PaneSlot.RIGHT])
                    )
                with Vertical(id="tabs"):
                    yield LineBar(id="tabbar")
                    yield from (RowPane(id=name) for name in by_place[PaneSlot.TAB])
        yield RowPane(id="text")
        yield LineBar(id="status")
        yield CommandLine(id="prompt", history=History(history_path()))
        yield LineBar(id="footer")

    def _pane_widget(self, name: str) -> RowPane:
        pane = RowPane(id=name)
        pane.border_title = f"{self._panes[name].key} {name}"
        return pane

    def on_mount(self) -> None:
        """Show the loading screen first, and only then import what is heavy."""
        self._widgets = {widget.id: widget for widget in self.query(Widget) if widget.id}
        self.on_running_at_last()
        sizes = self._preferences.layout
        if sizes.tokens_height is not None:
            self._widgets["tokens"].styles.height = sizes.tokens_height
        if sizes.stages_width is not None:
            self._widgets["stages"].styles.width = sizes.stages_width
        self.paint()
        self.call_after_refresh(lambda: self.set_timer(_SECONDS_TO_THE_FIRST_FRAME, self.engine.start))
        self.set_interval(_SECONDS_BETWEEN_LOOKS_AT_THE_LOG, self._look_at_the_log)

    @property
    def panes(self) -> dict[str, Pane]:
        """Every pane by its name."""
        return self._panes

    @property
    def prompt(self) -> CommandLine:
        """The line that is typed into."""
        return self.query_one("#prompt", CommandLine)

    def row_pane(self, name: str) -> RowPane:
        """The widget of a pane."""
        widget = self._widgets[name]
        assert isinstance(widget, RowPane)
        return widget

    def on_row_pane_laid_out(self, _message: RowPane.LaidOut) -> None:
        """Make rows for the room there is now, and show as many panes as it has room for."""
        self.paint()

    def on_row_pane_clicked(self, message: RowPane.Clicked) -> None:
        """Do what was clicked; a second click on a stage goes on to it."""
        if message.pane in self._panes and self.state.overlay is None:
            self.handler.go_to_pane(message.pane)
        name, _, argument = message.do.partition(" ")
        if name == "select" and message.chain > 1:
            name = "until"
        if name:
            self.perform(name, argument)
        self.paint()

    def on_mail_came(self, _message: MailCame) -> None:
        """Handle what the engine thread has to tell."""
        for message in self.mailbox.take():
            if isinstance(message, Loading):
                self._load(message)
            elif isinstance(message, Running):
                self._run_on(message)
            elif isinstance(message, Arrived):
                self._arrive(message)
            elif isinstance(message, Failed):
                self.exit(message.error)
            elif isinstance(message, Left):
                self.exit()

    def _load(self, message: Loading) -> None:
        """Show how far loading has come."""
        self.state.progress = message.progress
        self.paint()

    def _run_on(self, message: Running) -> None:
        """Show how far the run has come."""
        self.state.run = message.progress
        self.state.running = True
        self.paint()

    def _arrive(self, message: Arrived) -> None:
        """Show where the session stands."""
        state, before, shown = self.state, self.state.shown, message.snapshot
        state.arrive(shown)
        if before is not None and not before.same_place(shown):
            self.row_pane("explain").scroll_home(animate=False)
        if message.looked_again:
            self.paint()
            return
        if before is None and self.problems:
            state.say(f"{self.problems[0]} · `llmdbg doctor` tells more", "warn")
            self.paint()
            return
        if self.panes[self.view.side].place is not PaneSlot.TAB:
            self.handler.look_beside("tensor" if shown.stop.candidates is None else "candidates")
        if message.error:
            state.say(message.error, "bad")
            state.show_whole(message.title, (message.error,), self.size.width)
        elif len(message.answer) > 1:
            state.say(sentence(shown))
            state.overlay = Overlay.OUTPUT
            state.output = (message.title, message.answer)
        else:
            state.say(*self._told(before, message.answer))
            state.show_whole(message.title, message.answer, self.size.width)
        self.paint()

    def _told(self, before: Snapshot | None, answer: Sequence[str]) -> tuple[str, str]:
        """What to say of what has arrived, and in which style."""
        shown = self.state.snapshot
        if answer:
            when = "" if before is None else self.state.when_hit(before)
            return (f"{answer[0].removesuffix(', hit 0 times')}: {when}" if when else answer[0]), "dim"
        if before is not None and before.focus != shown.focus and before.same_place(shown):
            return described(shown.focused), "dim"
        return sentence(shown), "dim"

    async def on_event(self, event: Event) -> None:
        """Take in what is typed here, in the order of the keys: those behind Enter would overtake it otherwise."""
        is_typed = isinstance(event, Key | Paste) and not event.is_forwarded and self._is_typing_a_line()
        if is_typed and await self.handler.take(event):
            self.paint()
        else:
            await super().on_event(event)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While something is being typed, letters are letters."""
        if action != "perform":
            return True
        # What lies over the whole screen, like the palette, has an Escape of its own.
        return not self._is_typing() or (parameters == ("close",) and len(self.screen_stack) == 1)

    def action_perform(self, name: str) -> None:
        """Do what a key asks for. A command of the debugger is shown when it is done, not twice."""
        self.perform(name)
        if name not in COMMAND_OF:
            self.paint()

    def perform(self, name: str, argument: str = "") -> None:
        """Do one action of the registry."""
        if name == "quit":
            self.exit()
        elif self.state.shown is not None:
            self.state.say(sentence(self.state.shown))
            self.handler.perform(name, argument)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Bring what is drawn down to the colours and glyphs of the terminal."""
        return line_filters(self.look, super().get_line_filters())

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the palette offers: the actions of the registry."""
        for each in self.actions:
            if each.name not in ("palette", "command") and not (each.takes and not each.keys):
                keys = f" ({each.shown_keys})" if each.keys else ""
                yield SystemCommand(
                    each.name.replace("_", " "), each.help + keys, partial(self.action_perform, each.name)
                )

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """The colours our style sheet names, for a theme that is not ours."""
        return VARIABLE_DEFAULTS

    def on_background_told(self, message: BackgroundTold) -> None:
        """Take the colours that go with what lies behind them; nobody has asked for others."""
        self.look = replace(self.look, light=message.light)
        self.choose_theme(self._preferences.theme)

    def choose_theme(self, name: str) -> None:
        """Change the colours."""
        if name in THEME_WORDS:
            self._preferences = replace(self._preferences, theme=name)
            self.theme = theme_for(self.look, self._preferences)
        else:
            self.state.say(f"theme takes {', '.join(THEME_WORDS)}", "bad")

    def submit(self, line: str) -> None:
        """Have the engine thread run a command line."""
        if self.engine.submit(line):
            self.set_timer(_SECONDS_BEFORE_RUNNING_SHOWS, self._show_running)
        else:
            self.state.say("still running: space stops it at its next stage", "warn")
            self.paint()

    def paint(self) -> None:
        """Bring every pane up to date; cells that are as they were are not sent again."""
        if not self._widgets:
            return
        state = self.state
        shown_panes = self._arrange()
        self._show("header", lambda width, _: [header_row(state, width)])
        self._show("status", lambda width, _: [status_row(state, width)])
        self._show("footer", lambda width, _: [footer_row(self.actions, width)])
        if state.shown is None:
            self._show("loading", lambda width, height: loading_rows(state.model, state.progress, width, height))
            return
        if state.overlay is not None:
            self._show("text", lambda width, _: overlay_rows(state, self.actions, width))
        self._show("tabbar", lambda width, _: [self._tab_row(width)])
        for name in shown_panes:
            self._show_pane(self._panes[name])

    def _show_pane(self, pane: Pane) -> None:
        state, trouble = self.state, self.state.asked(pane.name)
        if isinstance(trouble, Trouble):
            self._show(pane.name, lambda width, _: [row((line, "bad")) for line in wrapped(trouble.message, width)])
            return
        self._show(pane.name, lambda width, height: pane.draw(state, width, height))
        self.engine.fetch(pane, self.row_pane(pane.name).lacking)
        if pane.line is not None and (line := pane.line(state)) is not None:
            self.row_pane(pane.name).keep_in_view(line, margin=pane.place is not PaneSlot.TOKENS)

    def _arrange(self) -> Sequence[str]:
        """Bring the right panes into view and the keys to the right one. Returns the panes in view."""
        state, view = self.state, self.view
        loaded, covered, typing = state.shown is not None, state.overlay is not None, self._is_typing_a_line()
        panes = in_view(tuple(self._panes.values()), view, self.size.width, self.size.height) if loaded else frozenset()
        tabs = {name for name, pane in self._panes.items() if pane.place is PaneSlot.TAB}
        upper = {name for name, pane in self._panes.items() if pane.place in (PaneSlot.MIDDLE, PaneSlot.RIGHT)}
        if covered:
            panes &= {name for name, pane in self._panes.items() if pane.place is PaneSlot.TOKENS} - {view.pane}
        there = {
            **{name: name in panes for name in self._panes},
            "loading": not loaded,
            "upper": bool(panes & upper),
            "tabs": bool(panes & tabs),
            "right": bool(panes & (upper | tabs)),
            "lower": any(self._panes[name].place is not PaneSlot.TOKENS for name in panes),
            "text": loaded and covered,
            "prompt": typing,
            "footer": not typing,
        }
        for id, wanted in there.items():
            if self._widgets[id].display != wanted:
                self._widgets[id].display = wanted
        screen = self.screen_stack[0]
        screen.set_class(view.zoomed, "-zoomed")
        screen.set_class(there["upper"] and there["tabs"], "-stacked")
        if covered:
            self._widgets["text"].border_title = overlay_title(self.state)
        self.engine.layout = view.as_saved()
        self.engine.ask(tuple(self._panes[name] for name in sorted(panes)))
        target = "prompt" if typing else "text" if covered else view.pane
        if loaded and there.get(target, True) and screen.focused is not self._widgets[target]:
            screen.set_focus(self._widgets[target], scroll_visible=False)
        return sorted(panes)

    def _tab_row(self, width: int) -> Row:
        return tab_row([pane for pane in self._panes.values() if pane.place is PaneSlot.TAB], self.view.tab, width)

    def _show(self, id: str, rows: Callable[[int, int], Sequence[Row]]) -> None:
        pane = self.row_pane(id)
        region = pane.scrollable_content_region
        if region.width and pane.display:
            pane.show(rows(region.width, region.height))

    def _is_typing(self) -> bool:
        return len(self.screen_stack) > 1 or self._is_typing_a_line()

    def _is_typing_a_line(self) -> bool:
        try:
            return len(self.screen_stack) == 1 and self.prompt.typing is not None
        except NoMatches:
            return False

    def _look_at_the_log(self) -> None:
        if self._log_seen != self.book.changes and self.view.tab == "log":
            self._log_seen = self.book.changes
            self.paint()

    def _show_running(self) -> None:
        if self.engine.running and not self.state.running:
            self.state.running = True
            self.paint()


def _nothing() -> None:
    return None
