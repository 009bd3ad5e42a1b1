"""The Textual app: keys and clicks in, command lines to the engine thread, snapshots back onto the panes.

Whatever changes the state calls `follow`, which decides what is in view, who has the keys and what the engine thread is
asked, and paints. `paint` alone turns the state as it is into rows: it changes nothing and asks nothing.
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
from llmdbg.frontends.tui.input.history import History, history_path
from llmdbg.frontends.tui.input.key_names import bound
from llmdbg.frontends.tui.input.preferences import THEMES as THEME_WORDS
from llmdbg.frontends.tui.input.preferences import Preferences
from llmdbg.frontends.tui.input.prompt import CommandLine
from llmdbg.frontends.tui.input.showing import go_to_pane
from llmdbg.frontends.tui.input.typed_line import PLACEHOLDERS, entered, typed, words
from llmdbg.frontends.tui.layout import NARROW, TALL, WIDE, arrangement, for_stop, saved_view
from llmdbg.frontends.tui.painting import arrange, composed, paint
from llmdbg.frontends.tui.panes import all_panes, pane_named
from llmdbg.frontends.tui.state.screen_state import ScreenState, Typing, View
from llmdbg.frontends.tui.terminal.look import TerminalLook, theme_for
from llmdbg.frontends.tui.terminal.themes import THEMES, VARIABLE_DEFAULTS, line_filters
from llmdbg.frontends.tui.widgets.row_pane import RowPane
from llmdbg.frontends.tui.worker.engine_thread import EngineThread
from llmdbg.frontends.tui.worker.mailbox import Mailbox, MailCame
from llmdbg.frontends.tui.worker.messages import Arrived, Failed, Left, Loading, Running
from llmdbg.models.spec import DEMO_MODEL

if TYPE_CHECKING:
    from llmdbg.frontends.tui.terminal.messages import BackgroundReported
    from llmdbg.frontends.tui.worker.launch import LaunchRequest

_SECONDS_TO_THE_FIRST_FRAME = 0.05
_SECONDS_BEFORE_RUNNING_SHOWS = 0.2
_SECONDS_BETWEEN_LOOKS_AT_THE_LOG = 0.25
_DEFAULTS = Preferences()
_TOUR_VIEW = View("explain", "explain", "explain")
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
        # Textual takes an empty entry for none at all; no terminal sends this key.
        changed = zip(self.actions, keyed_actions(), strict=True)
        self.set_keymap({new.name: ",".join(new.keys) or "unbound" for new, old in changed if new.keys != old.keys})
        self.problems = (*preferences.problems, *problems)
        self.book = LogBook() if book is None else book
        self.on_running_at_last: Callable[[], object] = _nothing
        self.mailbox = Mailbox(lambda: self.post_message(MailCame()))
        self.engine = EngineThread(request, self.mailbox.put)
        saved = {} if request.resumed is None else request.resumed.layout
        view = saved_view(saved, all_panes(), _TOUR_VIEW if request.tour else View())
        self.state = ScreenState(request.spec.name or DEMO_MODEL, self.book, view, touring=request.tour)
        self._log_seen = 0
        self._widgets: dict[str, Widget] = {}

    def compose(self) -> ComposeResult:
        """Make every widget; which are in view is decided when there is something to show."""
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
        """The line that is typed into."""
        return self.query_one("#prompt", CommandLine)

    def row_pane(self, name: str) -> RowPane:
        """The widget of a pane."""
        widget = self._widgets[name]
        assert isinstance(widget, RowPane)
        return widget

    # What comes in: sizes, clicks, keys, and what the engine thread and the terminal report.

    def on_row_pane_laid_out(self, _message: RowPane.LaidOut) -> None:
        """Show as many panes as there is room for now, and make rows that fit."""
        self.follow()

    def on_row_pane_lacking(self, message: RowPane.Lacking) -> None:
        """Have what the lines scrolled into view lack fetched."""
        self._fetch(message.pane)

    def on_row_pane_clicked(self, message: RowPane.Clicked) -> None:
        """Do what was clicked; a second click on a stage goes on to it."""
        if message.pane in self.state.in_view and self.state.overlay is None:
            go_to_pane(self, message.pane)
        name, _, argument = message.do.partition(" ")
        if name == "select" and message.chain > 1:
            name = "until"
        if name:
            perform(self, name, argument)
        self.follow()

    async def on_event(self, event: Event) -> None:
        """Take in what is typed here, in the order of the keys: those after Enter would otherwise overtake it."""
        is_typed = isinstance(event, Key | Paste) and not event.is_forwarded and self._is_typing_a_line()
        if is_typed and await self._take(event):
            self.follow()
        else:
            await super().on_event(event)

    async def _take(self, event: Event) -> bool:
        """Have the line take a key or a paste. Returns whether it was the line's."""
        prompt = self.prompt
        if isinstance(event, Key) and event.key == "enter":
            if line := entered(self):
                prompt.remember(line)
            return True
        hint = await prompt.take(event) if isinstance(event, Key | Paste) else None
        if hint is not None:
            typed(self, prompt.value, hint)
        return hint is not None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While something is being typed, letters are letters."""
        if action != "perform":
            return True
        # What lies over the whole screen, like the palette, has an Escape of its own.
        on_top = len(self.screen_stack) == 1
        return (on_top and self.state.typing is None) or (parameters == ("close",) and on_top)

    def action_perform(self, name: str) -> None:
        """Do what a key asks for. A command of the debugger is shown once, when it is done."""
        perform(self, name)
        if not action_named(name).command:
            self.follow()

    def on_mail_came(self, _message: MailCame) -> None:
        """Handle what the engine thread reports."""
        for message in self.mailbox.take():
            if isinstance(message, Loading):
                self.state.progress = message.progress
                self.paint()
            elif isinstance(message, Running):
                self.state.run, self.state.running = message.progress, True
                self.paint()
            elif isinstance(message, Arrived):
                self._arrive(message)
                self.follow()
            elif isinstance(message, Failed):
                self.exit(message.error)
            elif isinstance(message, Left):
                self.exit()

    def _arrive(self, message: Arrived) -> None:
        """Take over where the session stands now, and say what has happened."""
        state, before, shown = self.state, self.state.shown, message.snapshot
        state.arrive(shown)
        if before is not None and not before.same_place(shown):
            self.scroll_home("explain")
        if message.looked_again:
            return
        if before is None and self.problems:
            state.say(f"{self.problems[0]} · `llmdbg doctor` tells more", "warn")
            return
        state.view = for_stop(all_panes(), state.view, candidates=shown.stop.candidates is not None)
        state.report(before, message.title, message.answer, message.error, self.size.width)

    def on_background_reported(self, message: BackgroundReported) -> None:
        """Take the colours that go with the terminal's background; the user has asked for no others."""
        self.look = replace(self.look, light=message.light)
        self.choose_theme(self._preferences.theme)

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

    # What actions need: see `input.screen.Screen`.

    @property
    def busy(self) -> bool:
        """Whether a command is running or waiting."""
        return self.engine.busy

    def submit(self, line: str) -> None:
        """Have the engine thread run a command line."""
        if self.engine.submit(line):
            self.set_timer(_SECONDS_BEFORE_RUNNING_SHOWS, self._show_running)
        else:
            self.state.say("still running: space stops it at its next stage", "warn")
            self.paint()

    def interrupt(self) -> None:
        """Stop a run at its next stage."""
        self.engine.interrupt()

    def begin_typing(self, typing: Typing, text: str = "") -> None:
        """Open the line at the bottom, with some text in it."""
        self.state.typing = typing
        named = words(self.state.snapshot) if typing is Typing.COMMAND else None
        self.prompt.open(text, PLACEHOLDERS[typing], named)

    def stop_typing(self) -> str:
        """Close the line. Returns what was typed."""
        self.state.typing = None
        return self.prompt.close()

    def scroll(self, lines: int) -> None:
        """Move the pane that has the keys by so many lines."""
        self.row_pane(self.state.has_keys).scroll_relative(y=lines, animate=False)

    @property
    def page(self) -> int:
        """How many lines make a page of the pane that has the keys."""
        return max(1, self.row_pane(self.state.has_keys).size.height - 1)

    def scroll_home(self, pane: str) -> None:
        """Show a pane from its first line."""
        self.row_pane(pane).scroll_home(animate=False)

    def copy_pane(self, pane: str) -> str:
        """Copy a pane to the clipboard and to a file. Returns a sentence that says where it is."""
        return copied(self, self.row_pane(pane))

    def save_screen(self) -> str:
        """Write the screen to files. Returns a sentence that says where they are."""
        return saved_screen(self)

    def choose_theme(self, name: str) -> None:
        """Change the colours."""
        if name in THEME_WORDS:
            self._preferences = replace(self._preferences, theme=name)
            self.theme = theme_for(self.look, self._preferences)
        else:
            self.state.say(f"theme takes {', '.join(THEME_WORDS)}", "bad")

    def open_palette(self) -> None:
        """Let the user find an action by typing."""
        self.action_command_palette()

    def leave(self) -> None:
        """Close the screen."""
        self.exit()

    # From the state to what is seen.

    def follow(self) -> None:
        """After a change of the state or the size: arrange the panes, ask what those in view want to know, paint."""
        if not self._widgets:
            return
        arranged = arrangement(all_panes(), self.state, self.size.width, self.size.height)
        self.state.in_view = arranged.panes
        arrange(arranged, self._widgets, self.screen_stack[0])
        self.engine.layout = self.state.view.as_saved()
        questions = (pane_named(name).question for name in arranged.panes)
        self.engine.ask(tuple(filter(None, questions)))
        self.paint()
        for name in arranged.panes:
            self._fetch(name)

    def _fetch(self, name: str) -> None:
        """Have what the lines of a pane in view lack fetched."""
        self.engine.fetch(pane_named(name).question, self.row_pane(name).lacking)

    def paint(self) -> None:
        """Make the rows of everything in view."""
        if self._widgets:
            paint(self.state, self.actions, self._widgets)

    def _is_typing_a_line(self) -> bool:
        return len(self.screen_stack) == 1 and self.state.typing is not None

    def _look_at_the_log(self) -> None:
        if self._log_seen != self.book.changes and self.state.view.tab == "log":
            self._log_seen = self.book.changes
            self.paint()

    def _show_running(self) -> None:
        if self.engine.running and not self.state.running:
            self.state.running = True
            self.paint()


def _nothing() -> None:
    return None
