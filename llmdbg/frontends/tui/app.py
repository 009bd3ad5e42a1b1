"""The Textual app: takes keys and clicks, sends command lines to the engine thread, and shows its snapshots in panes.

After each change of the state, `follow` decides which panes are in view, which has the keyboard focus and what to ask
the engine thread, and paints. `paint` only turns the state into rows: it changes nothing and asks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.events import Event, Key, Paste
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widget import Widget

from llmdbg.frontends.log import LogBook
from llmdbg.frontends.tui.clipboard_export import copied, saved_screen
from llmdbg.frontends.tui.input.actions import action_named, keyed_actions, perform
from llmdbg.frontends.tui.input.choosing import moved
from llmdbg.frontends.tui.input.clicking import clicked
from llmdbg.frontends.tui.input.history import History, history_path
from llmdbg.frontends.tui.input.kept_keys import KeptKeys
from llmdbg.frontends.tui.input.key_names import bound
from llmdbg.frontends.tui.input.last_layout import keep_last_layout
from llmdbg.frontends.tui.input.preferences import Preferences
from llmdbg.frontends.tui.input.prompt import CommandLine
from llmdbg.frontends.tui.input.showing import STAND
from llmdbg.frontends.tui.input.typed_line import PLACEHOLDERS, ends_input, entered, say_that_it_waits, typed, words
from llmdbg.frontends.tui.layout import arrangement, first_view, questions
from llmdbg.frontends.tui.painting import arrange, composed, paint, paint_progress
from llmdbg.frontends.tui.panes import all_panes, pane_named
from llmdbg.frontends.tui.presets import HUGE, NARROW, TALL, WIDE, Room
from llmdbg.frontends.tui.reports import take
from llmdbg.frontends.tui.state.screen_state import ScreenState, Typing
from llmdbg.frontends.tui.state.theme_names import THEMES as THEME_WORDS
from llmdbg.frontends.tui.terminal.look import TerminalLook, theme_for
from llmdbg.frontends.tui.terminal.themes import THEMES, VARIABLE_DEFAULTS, line_filters
from llmdbg.frontends.tui.widgets.row_pane import RowPane
from llmdbg.frontends.tui.widgets.rows import Row
from llmdbg.frontends.tui.worker.engine_thread import EngineThread
from llmdbg.frontends.tui.worker.mailbox import Mailbox, MailCame
from llmdbg.frontends.tui.worker.messages import AsksForLine
from llmdbg.models.spec import DEMO_MODEL

if TYPE_CHECKING:
    from llmdbg.frontends.launch_request import LaunchRequest
    from llmdbg.frontends.tui.terminal.messages import BackgroundReported

_SECONDS_TO_THE_FIRST_FRAME = 0.05
_SECONDS_BEFORE_RUNNING_SHOWS = 0.2
_SECONDS_BETWEEN_LOOKS_AT_THE_LOG = 0.25
_DEFAULTS = Preferences()
_FULL_LOOK = TerminalLook("truecolor", unicode=True, light=False, multiplexer=None, term="xterm-256color")


class LlmdbgApp(App[BaseException]):
    """The screen of one debugger. Returns the error that kept it from starting, if any."""

    TITLE = "llmdbg"
    CSS_PATH: ClassVar[list[str]] = ["style.tcss", "colors.tcss"]  # type: ignore[assignment]
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (NARROW, "-narrow"), (WIDE, "-wide"), (HUGE, "-huge")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (TALL, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            ",".join(action.keys), f"perform('{action.name}')", action.help, show=False, priority=True, id=action.name
        )
        for action in keyed_actions()
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
        self.actions, problems = bound(keyed_actions(), preferences.keys)
        # Textual ignores an empty entry; no terminal sends this key.
        changed = zip(self.actions, keyed_actions(), strict=True)
        self.set_keymap({new.name: ",".join(new.keys) or "unbound" for new, old in changed if new.keys != old.keys})
        self.problems = (*preferences.problems, *problems)
        self.book = LogBook() if book is None else book
        self.on_running_at_last: Callable[[], object] = lambda: None
        self.mailbox = Mailbox(lambda: self.post_message(MailCame()))
        self.engine = EngineThread(request, self.mailbox.put)
        self._typed = request.typed
        if request.typed is not None:
            request.typed.on_ask = lambda: self.mailbox.put(AsksForLine())
        self.kept_keys, self.resumes = KeptKeys(self.actions), request.resumed is not None
        saved = {} if request.resumed is None else request.resumed.layout
        view = first_view(saved, all_panes(), preferences.layout.first(), touring=bool(request.tour))
        self.state = ScreenState(request.spec.name or DEMO_MODEL, self.book, view=view, touring=bool(request.tour))
        self._log_seen = 0
        self._widgets: dict[str, Widget] = {}

    def compose(self) -> ComposeResult:
        """Make every widget; `follow` decides which are in view."""
        yield from composed(History(history_path()))

    def on_mount(self) -> None:
        """Show the loading screen first, and only then import what is heavy."""
        self._widgets = {widget.id: widget for widget in self.query(Widget) if widget.id}
        self.on_running_at_last()
        sizes = self._preferences.layout
        if sizes.tokens_height is not None:
            self._widgets["tokens"].styles.height = sizes.tokens_height
        if sizes.stages_width is not None:
            self._widgets["stages"].styles.width = sizes.stages_width
        self.follow()
        self.call_after_refresh(lambda: self.set_timer(_SECONDS_TO_THE_FIRST_FRAME, self.engine.start))
        self.set_interval(_SECONDS_BETWEEN_LOOKS_AT_THE_LOG, self._look_at_the_log)

    @property
    def prompt(self) -> CommandLine:
        """The input line at the bottom."""
        return self.query_one("#prompt", CommandLine)

    def row_pane(self, name: str) -> RowPane:
        """The widget of a pane."""
        widget = self._widgets[name]
        assert isinstance(widget, RowPane)
        return widget

    # Input: sizes, clicks, keys, and reports of the engine thread and the terminal.

    def on_row_pane_laid_out(self, _message: RowPane.LaidOut) -> None:
        """Show as many panes as fit, with rows of the new size."""
        self.follow()

    def on_row_pane_lacking(self, message: RowPane.Lacking) -> None:
        """Fetch what the lines scrolled into view are missing."""
        self._fetch(message.pane)

    def on_row_pane_clicked(self, message: RowPane.Clicked) -> None:
        """Perform a click."""
        clicked(self, message.pane, message.do, message.chain)
        self.follow()

    async def on_event(self, event: Event) -> None:
        """Handle typing here, in the order of the keys: otherwise keys after Enter would overtake it."""
        may_be_kept = not event.is_forwarded and self.state.typing is not Typing.LINE
        if isinstance(event, Key | Paste) and may_be_kept and self.kept_keys.keep(event):
            self.state.kept = self.kept_keys.shown
            self.paint()
        else:
            await self._handle(event)

    async def _handle(self, event: Event) -> None:
        types = len(self.screen_stack) == 1 and self.state.typing is not None
        if types and isinstance(event, Key | Paste) and not event.is_forwarded and await self._take(event):
            self.follow()
        else:
            await super().on_event(event)

    async def _take(self, event: Event) -> bool:
        """Offer a key or a paste to the input line. Returns whether the line handled it."""
        prompt = self.prompt
        if isinstance(event, Key) and self.state.typing is Typing.PICK and moved(self, event.key):
            return True
        if isinstance(event, Key) and event.key == "ctrl+d" and ends_input(self, prompt.value):
            return True
        if isinstance(event, Key) and event.key == "enter":
            if line := entered(self):
                prompt.remember(line)
            return True
        hint = await prompt.take(event) if isinstance(event, Key | Paste) else None
        if hint is not None:
            typed(self, prompt.value, hint)
        return hint is not None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable actions while the user types, so that letters reach the line."""
        if action != "perform":
            return True
        # A screen on top of this one, like the palette, handles Escape itself.
        on_top = len(self.screen_stack) == 1
        return (on_top and self.state.typing is None) or (parameters in (("close",), ("interrupt",)) and on_top)

    def action_perform(self, name: str) -> None:
        """Perform a key's action. A debugger command paints once, when it is done."""
        perform(self, name)
        if not action_named(name).command:
            self.follow()

    async def on_mail_came(self, _message: MailCame) -> None:
        """Handle what the engine thread reports."""
        for message in self.mailbox.take():
            take(self, message)
        for event in self.kept_keys.take():
            await self._handle(event)

    def on_background_reported(self, message: BackgroundReported) -> None:
        """Choose colours for the terminal's background, since the user has chosen none."""
        self.look = replace(self.look, light=message.light)
        self.choose_theme(self._preferences.theme)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Reduce what is drawn to the terminal's colours and glyphs."""
        return line_filters(self.look, super().get_line_filters())

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette's entries: the registered actions."""
        for each in self.actions:
            if each.name not in ("palette", "command") and (each.keys or each.asks or not each.takes):
                keys = f" ({each.shown_keys})" if each.keys else ""
                yield SystemCommand(
                    each.name.replace("_", " "), each.help + keys, partial(self.action_perform, each.name)
                )

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Colours that our style sheet names and foreign themes lack."""
        return VARIABLE_DEFAULTS

    # The `Screen` protocol that actions use (`input/screen.py`).

    @property
    def busy(self) -> bool:
        """Whether a command is running or waiting."""
        return self.engine.busy

    @property
    def working(self) -> bool:
        """Whether it is busy, or the session still begins: with its command line's commands."""
        return self.engine.working

    def submit(self, line: str) -> None:
        """Let the engine thread run a command line."""
        self.state.opened_meanwhile = False
        if self.engine.submit(line):
            if self.state.asks_for_line:
                self.state.say(f"{line}: once the run stops; the program waits for its line first (:)", "warn")
                self.paint()
            self.set_timer(_SECONDS_BEFORE_RUNNING_SHOWS, self._show_running)
        else:
            self.state.say("still running: space stops it at its next stage", "warn")
            self.paint()

    def interrupt(self) -> None:
        """Stop a run at its next stage, and the user's own Python at once."""
        self.engine.interrupt()

    def give_line(self, text: str) -> None:
        """Give the program the line that it waits for. The log shows it where the program has asked."""
        assert self._typed is not None
        self.state.asks_for_line = False
        self.book.echo(text)
        self._typed.type(text)

    def end_input(self, *, by_interrupt: bool = False) -> None:
        """Tell the program that waits for a line that its input ends, or raise KeyboardInterrupt there."""
        assert self._typed is not None
        self.state.asks_for_line = False
        self.book.echo("^C" if by_interrupt else "^D")
        if by_interrupt:
            self._typed.interrupt()
        else:
            self._typed.end()

    def begin_typing(self, typing: Typing, text: str = "") -> None:
        """Open the input line with this text."""
        self.state.typing = typing
        self.prompt.open(text, PLACEHOLDERS[typing], words(self.state.snapshot) if typing is Typing.COMMAND else None)

    def stop_typing(self) -> str:
        """Close the input line. Returns its text."""
        if self.state.typing is Typing.PICK:
            self.state.overlay = self.state.picker = None
        self.state.typing = None
        return self.prompt.close()

    def scroll(self, lines: int) -> None:
        """Scroll the focused pane by this many lines."""
        self.row_pane(self.state.has_keys).scroll_relative(y=lines, animate=False)

    @property
    def page(self) -> int:
        """How many lines a page of the focused pane has."""
        return max(1, self.row_pane(self.state.has_keys).size.height - 1)

    def rows(self, pane: str) -> Sequence[Row]:
        """The lines of a pane."""
        return self.row_pane(pane).rows

    def show_line(self, pane: str, y: int) -> None:
        """Scroll a pane just enough to make a line visible."""
        self.row_pane(pane).keep_in_view(y)

    def scroll_home(self, pane: str) -> None:
        """Scroll a pane to its first line."""
        self.row_pane(pane).scroll_home(animate=False)

    def copy_pane(self, pane: str) -> str:
        """Copy a pane to the clipboard and to a file. Returns a sentence that says where it is."""
        return copied(self, self.row_pane(pane), self.state)

    def save_screen(self) -> str:
        """Save the screen to files. Returns a sentence that says where they are."""
        return saved_screen(self)

    def choose_theme(self, name: str) -> None:
        """Change the colours."""
        if name in THEME_WORDS:
            self._preferences = replace(self._preferences, theme=name)
            self.theme = theme_for(self.look, self._preferences)
        else:
            self.state.say(f"theme takes {', '.join(THEME_WORDS)}", "bad")

    def keep_layout(self, name: str) -> None:
        """Keep the chosen layout for the next start."""
        keep_last_layout(name)

    def open_palette(self) -> None:
        """Open the command palette."""
        self.action_command_palette()

    def leave(self, how: str = "") -> None:
        """Close the screen. This engine ends with it, so that it cannot be left standing."""
        if how == STAND:
            self.state.say("only with --detachable is an engine left standing: q leaves", "warn")
        else:
            self.exit()

    # From the state to the screen.

    def follow(self) -> None:
        """After a change of the state or the size: arrange the panes, ask the questions of those in view, and paint."""
        if not self._widgets:
            return
        arranged = arrangement(all_panes(), self.state, self.size.width, self.size.height)
        self.state.in_view, self.state.room = arranged.panes, Room.of(self.size.width, self.size.height)
        arrange(arranged, self._widgets, self.screen_stack[0])
        self.engine.layout = self.state.view.as_saved()
        self.engine.ask(questions(all_panes(), self.state, lambda name: self.row_pane(name).size.width))
        self.engine.look(self.state.to_look_at() if self.state.shown is not None else None)
        if "candidates" in arranged.panes:
            self.engine.fetch("sampling", self.state.wanted)
        self.paint()
        for name in arranged.panes:
            self._fetch(name)

    def _fetch(self, name: str) -> None:
        """Fetch what the visible lines of a pane are missing."""
        self.engine.fetch(pane_named(name).question, self.row_pane(name).lacking)

    def paint(self) -> None:
        """Make the rows of everything in view."""
        if self._widgets:
            paint(self.state, self.actions, self._widgets)

    def paint_progress(self) -> None:
        """Make the rows that a run changes as it goes."""
        paint_progress(self.state, self._widgets)

    def _look_at_the_log(self) -> None:
        asked = self.state.typing is Typing.LINE
        if self._log_seen != self.book.changes and (asked or "log" in self.state.in_view):
            self._log_seen = self.book.changes
            if asked:
                say_that_it_waits(self.state)
            self.paint()

    def _show_running(self) -> None:
        if self.engine.running and not self.state.running:
            self.state.running = True
            self.paint()
