"""The Textual app: keys in, command lines to the engine thread, snapshots back onto the panes."""

from __future__ import annotations

import os
import sys
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input

from llmdbg.errors import LlmdbgError, LoadError
from llmdbg.frontends.log import log_path, record, route_libraries
from llmdbg.frontends.tui.actions import ACTIONS
from llmdbg.frontends.tui.engine_thread import EngineThread
from llmdbg.frontends.tui.launch import LaunchRequest
from llmdbg.frontends.tui.messages import Arrived, Failed, Left, Loading, Running
from llmdbg.frontends.tui.panes.tokens import described
from llmdbg.frontends.tui.row_pane import LineBar, RowPane
from llmdbg.frontends.tui.screen_state import Overlay, ScreenState
from llmdbg.frontends.tui.sentences import sentence
from llmdbg.models.spec import DEMO_MODEL

PANES = ("tokens", "stages", "tensor", "candidates")
_COMMANDS = {action.name: action.command for action in ACTIONS if action.command}
_WIDE = 100
_SECONDS_TO_THE_FIRST_FRAME = 0.05
_SECONDS_TO_CLOSE = 0.5
_SECONDS_BEFORE_RUNNING_SHOWS = 0.2


class LlmdbgApp(App[BaseException]):
    """The screen of one session. Its return value is the error that kept it from starting, if one did."""

    TITLE = "llmdbg"
    CSS_PATH = "style.tcss"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-narrow"),
        (100, "-wide"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(key, f"perform('{action.name}')", action.help, show=False, priority=True)
        for action in ACTIONS
        for key in action.keys
    ]

    def __init__(self, request: LaunchRequest) -> None:
        super().__init__()
        self.animation_level = "none"
        self.engine = EngineThread(request, self.post_message)
        self.state = ScreenState(request.spec.name or DEMO_MODEL)
        self._pane = "stages"
        self._side_pane = "tensor"
        self._typing = False

    def compose(self) -> ComposeResult:
        """Lay out every pane; classes on the screen decide which are seen."""
        yield LineBar(id="header")
        yield RowPane(id="loading")
        yield RowPane(id="tokens", title="1 tokens")
        with Horizontal(id="lower"):
            yield RowPane(id="stages", title="2 stages")
            yield RowPane(id="tensor", title="3 tensor")
            yield RowPane(id="candidates", title="4 candidates")
        yield RowPane(id="text")
        yield LineBar(id="status")
        prompt = Input(id="prompt", placeholder="a command, e.g. until 12.mlp or info model", compact=True)
        prompt.cursor_blink = False
        yield prompt
        yield LineBar(id="footer")

    def on_mount(self) -> None:
        """Show the loading screen first, and only then import what is heavy."""
        self.paint()
        self.set_timer(_SECONDS_TO_THE_FIRST_FRAME, self.engine.start)

    def on_row_pane_laid_out(self, _message: RowPane.LaidOut) -> None:
        """Make rows for the room there is now, and show as many panes as it has room for."""
        self.paint()

    def on_loading(self, message: Loading) -> None:
        """Show how far loading has come."""
        self.state.progress = message.progress
        self.paint()

    def on_failed(self, message: Failed) -> None:
        """Leave, and let the command line tell why."""
        self.exit(message.error)

    def on_left(self, _message: Left) -> None:
        """`quit` was typed."""
        self.exit()

    def on_running(self, message: Running) -> None:
        """Show the tokens that came since the run went on."""
        self.state.live = message.tokens
        self.state.running = True
        self.paint()

    def on_arrived(self, message: Arrived) -> None:
        """Show where the session stands."""
        before = self.state.shown
        self.state.arrive(message.snapshot)
        self._side_pane = "candidates" if message.snapshot.stop.candidates is not None else "tensor"
        if message.error:
            self.state.say(message.error, "bad")
        elif len(message.answer) > 1:
            self.state.say(sentence(message.snapshot))
            self.state.overlay = Overlay.OUTPUT
            self.state.output = (message.title, message.answer)
        else:
            moved_focus = (
                before is not None and before.focus != message.snapshot.focus and before.same_place(message.snapshot)
            )
            told = described(message.snapshot.focused) if moved_focus else sentence(message.snapshot)
            self.state.say(message.answer[0] if message.answer else told)
        self.paint()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Run the command that was typed."""
        line = event.value.strip()
        self._close_prompt()
        if line:
            self._submit(line)
        self.paint()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While a command is being typed, letters are letters."""
        return action != "perform" or not self._typing or parameters == ("close",)

    def action_perform(self, name: str) -> None:
        """Do what a key asks for."""
        if name == "quit":
            self.exit()
            return
        if self.state.shown is None:
            return
        self.state.say(sentence(self.state.shown))
        if name in _COMMANDS:
            self._submit(_COMMANDS[name])
        elif name.startswith("pane_"):
            self._go_to_pane(PANES[int(name[-1]) - 1])
        else:
            getattr(self, f"_do_{name}")()
        self.paint()

    def paint(self) -> None:
        """Bring every pane up to date; rows that are as they were are not sent again."""
        self._arrange()
        state = self.state
        self._show("header", lambda width, _: [state.header(width)])
        self._show("status", lambda width, _: [state.status(width)])
        self._show("footer", lambda width, _: [state.footer(width)])
        if state.shown is None:
            self._show("loading", state.loading)
            return
        self._show("tokens", lambda width, _: state.tokens(width))
        self.query_one("#tokens", RowPane).keep_in_view(state.token_line(), margin=0)
        if state.overlay is not None:
            self._show("text", lambda width, _: state.overlay_rows(width))
            return
        self._show("stages", lambda width, _: state.stages(width))
        self.query_one("#stages", RowPane).keep_in_view(state.selected_line())
        self._show("tensor", lambda width, _: state.tensor(width))
        self._show("candidates", lambda width, _: state.candidates(width))

    def _arrange(self) -> None:
        """Decide which panes are there, and that the one that has the keys is among them."""
        state = self.state
        loaded, covered, wide = state.shown is not None, state.overlay is not None, self.size.width >= _WIDE
        there = {
            "loading": not loaded,
            "tokens": loaded,
            "lower": loaded and not covered,
            "tensor": wide or self._side_pane == "tensor",
            "candidates": wide or self._side_pane == "candidates",
            "text": loaded and covered,
            "prompt": self._typing,
            "footer": not self._typing,
        }
        for id, wanted in there.items():
            if self.query_one(f"#{id}").display != wanted:
                self.query_one(f"#{id}").display = wanted
        if covered:
            self.query_one("#text").border_title = state.overlay_title()
        target = "prompt" if self._typing else "text" if covered else self._pane
        if not there.get(target, True):
            target = "stages"
        if loaded and (self.focused is None or self.focused.id != target):
            self.screen.set_focus(self.query_one(f"#{target}"), scroll_visible=False)

    def _show(self, id: str, rows: object) -> None:
        pane = self.query_one(f"#{id}", RowPane)
        region = pane.scrollable_content_region
        if region.width:
            pane.show(rows(region.width, region.height))  # type: ignore[operator]

    def _submit(self, line: str) -> None:
        if self.engine.submit(line):
            self.set_timer(_SECONDS_BEFORE_RUNNING_SHOWS, self._show_running)
        else:
            self.state.say("still running: space stops it at its next stage", "warn")

    def _show_running(self) -> None:
        if self.engine.busy and not self.state.running:
            self.state.running = True
            self.paint()

    def _do_pause(self) -> None:
        if self.engine.busy:
            self.engine.interrupt()

    def _do_until(self) -> None:
        if self.state.shown is not None and self.state.overlay is None:
            self._submit(f"until {self.state.selected}")

    def _do_breakpoint(self) -> None:
        self._submit(self.state.breakpoint_command())

    def _do_answer(self) -> None:
        self._toggle(Overlay.ANSWER)

    def _do_help(self) -> None:
        self._toggle(Overlay.HELP)

    def _toggle(self, overlay: Overlay) -> None:
        self.state.overlay = None if self.state.overlay is overlay else overlay
        self.query_one("#text", RowPane).scroll_home(animate=False)

    def _do_close(self) -> None:
        if self._typing:
            self._close_prompt()
        else:
            self.state.overlay = None

    def _do_command(self) -> None:
        self._typing = True

    def _close_prompt(self) -> None:
        self.query_one("#prompt", Input).value = ""
        self._typing = False

    def _do_next_pane(self) -> None:
        self._go_to_pane(PANES[(PANES.index(self._pane) + 1) % len(PANES)])

    def _do_previous_pane(self) -> None:
        self._go_to_pane(PANES[(PANES.index(self._pane) - 1) % len(PANES)])

    def _go_to_pane(self, pane: str) -> None:
        self.state.overlay = None
        self._pane = pane
        if pane in ("tensor", "candidates"):
            self._side_pane = pane

    def _do_up(self) -> None:
        self._move(-1)

    def _do_down(self) -> None:
        self._move(1)

    def _move(self, by: int) -> None:
        focused = self.focused
        if focused is not None and focused.id == "stages":
            self.state.select(by)
        elif isinstance(focused, RowPane):
            focused.scroll_relative(y=by, animate=False)

    def _do_left(self) -> None:
        self._sideways(-1)

    def _do_right(self) -> None:
        self._sideways(1)

    def _sideways(self, by: int) -> None:
        focused = self.focused.id if self.focused is not None else None
        shown = self.state.shown
        if focused == "stages":
            self.state.unfold(unfolded=by > 0)
        elif focused == "tokens" and shown is not None:
            position = max(0, min(len(shown.tokens) - 1, shown.focus + by))
            self._submit(f"focus {position}")


def run(request: LaunchRequest) -> int:
    """Show the screen until the user leaves. Returns the exit code. Raises LlmdbgError when loading failed."""
    route_libraries()
    app = LlmdbgApp(request)
    error = app.run()
    closed = app.engine.leave(_SECONDS_TO_CLOSE)
    if isinstance(error, LlmdbgError):
        raise error
    if error is not None:
        record(error)
        raise LoadError(
            f"loading failed: {type(error).__name__}: {error} (the traceback is in {log_path()})"
        ) from error
    if not closed:
        # A forward is still running and cannot be stopped in the middle of a kernel: the user does not wait for it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(app.return_code or 0)
    return app.return_code or 0
