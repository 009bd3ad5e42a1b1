"""Starts the screen: what must be set before Textual is imported, and how the process ends."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmdbg.errors import EngineLostError, LlmdbgError, LoadError
from llmdbg.frontends.log import LogBook, LogFile, log_path, record, route_libraries
from llmdbg.frontends.output import complain, flush, is_in_a_page
from llmdbg.frontends.sanitize import spell_tokens_in_ascii
from llmdbg.frontends.tui.input.actions import keyed_actions
from llmdbg.frontends.tui.input.preferences import load_preferences
from llmdbg.frontends.tui.terminal.capture import Capture
from llmdbg.frontends.tui.terminal.guard import Guard
from llmdbg.frontends.tui.terminal.hangup import ENDING, ENDING_A_RANK, ending_with
from llmdbg.frontends.tui.terminal.look import (
    environment_as_started,
    look,
    may_ask_for_background,
    textual_environment,
)

if TYPE_CHECKING:
    from llmdbg.frontends.launch_request import LaunchRequest
    from llmdbg.frontends.ranks import Ranks
    from llmdbg.frontends.tui.app import LlmdbgApp
    from llmdbg.frontends.tui.terminal.driver import TerminalLine
    from llmdbg.frontends.wire.engine_link import EngineLink

_SECONDS_TO_CLOSE = 0.5


def run(request: LaunchRequest, link: EngineLink | None = None) -> int:
    """Show the screen until the user leaves. Returns the exit code. Raises LlmdbgError when loading failed.

    `link` leads to the process that holds the terminal, if this is an engine that outlives its screen.
    """
    book = LogBook(LogFile(log_path()))
    route_libraries(book)
    preferences = load_preferences(actions=keyed_actions())
    seen = look(environment_as_started(), preferences)
    os.environ.update(textual_environment(seen, changes=link is not None))
    spell_tokens_in_ascii(not seen.unicode)
    from llmdbg.frontends.tui.app import LlmdbgApp
    from llmdbg.frontends.tui.standing import StandingApp, lost_reason, tell_that_it_is_lost
    from llmdbg.frontends.tui.terminal.driver import TerminalLine

    capture = Capture(book)
    guard = Guard(log_path(), way_on=_way_on(request) if link is None else "")
    line = TerminalLine(
        ask_for_background=may_ask_for_background(seen, preferences),
        guard=guard,
        link=link,
        colors="truecolor" if link is None else seen.colors,
    )
    ranks = request.ranks
    if ranks is not None:
        # Whichever thread finds that a rank is lost gives the terminal back, and then says so.
        ranks.before_end = line.leave_for_good
        ranks.begins(request.first_session(), is_saved=request.resumed is not None)
    signals, give_back = (ENDING, line.give_back) if ranks is None else (ENDING_A_RANK, ranks.interrupted)
    request = replace(request, on_saved=guard.can_go_on)
    with guard, capture, ending_with(capture.terminals, give_back, request.is_running_here, signals):
        if request.resumed is not None:
            guard.can_go_on()
        # In a page Textual has a driver of its own, which is told the size.
        in_page = is_in_a_page()
        driver = None if in_page else line.driver_class
        app = (
            LlmdbgApp(request, preferences, seen, book, driver)
            if link is None
            else StandingApp(request, preferences, seen, book, line, link)
        )
        app.on_running_at_last = capture.claim_prints
        if request.in_main_thread and not in_page:
            error = _run_beside(app, request, capture, line)
            closed = True
        else:
            error = app.run(size=None if in_page else capture.size)
            closed = app.engine.leave(_SECONDS_TO_CLOSE)
    _complain_of_what_is_not_saved(app)
    step = app.state.loading.steps.present
    if error is not None and app.state.shown is not None:
        record(error)
        tell_that_it_is_lost(link, lost_reason(error))
        raise EngineLostError(f"{lost_reason(error)} (the traceback is in {log_path()})") from error
    if isinstance(error, LlmdbgError):
        error.args = (f"while {step}: {error}",)
        raise error
    if error is not None:
        record(error)
        raise LoadError(f"while {step}: {type(error).__name__}: {error} (the traceback is in {log_path()})") from error
    if app.return_code:
        raise LlmdbgError(f"the screen failed (the traceback is in {log_path()})")
    # Before there is a stop, the other ranks still load, and take no order to end.
    if not closed or (ranks is not None and app.state.shown is None):
        _leave_at_once(app, ranks)
    return app.return_code or 0


def _complain_of_what_is_not_saved(app: LlmdbgApp) -> None:
    if app.engine.unsaved:
        complain(f"the session is not saved: {app.engine.unsaved}")
    elif app.engine.left_out:
        complain(f"not all of the session is saved: {app.engine.left_out}")


def _way_on(request: LaunchRequest) -> str:
    """What the user can do once this process was killed; of several ranks, another one says it.

    Of an engine that outlives its screen, whoever holds the terminal does, who knows whether a session is saved.
    """
    return "`llmdbg --resume` continues the session" if request.saves and request.ranks is None else ""


def _run_beside(app: LlmdbgApp, request: LaunchRequest, capture: Capture, line: TerminalLine) -> Any:
    """Show the screen from another thread while the debuggee has this one. Returns what the app does."""
    from llmdbg.frontends.tui.terminal.beside import exiting_at_once, run_beside, signals_beside
    from llmdbg.frontends.tui.worker.engine_here import EngineHere

    engine = app.engine = EngineHere(request, app.mailbox.put)

    def show() -> Any:
        try:
            return app.run(size=capture.size)
        finally:
            if not engine.leave(_SECONDS_TO_CLOSE):
                _leave_at_once(app)

    def give_back(code: int) -> None:
        if line.has_the_terminal:
            line.leave_for_good()
            capture.tell(f"llmdbg: {request.spec.name} ended itself at once, with {code}")

    with signals_beside(), exiting_at_once(give_back):
        return run_beside(show, engine.serve)


def _leave_at_once(app: LlmdbgApp, ranks: Ranks | None = None) -> None:
    """End the process: a forward cannot be stopped in the middle of a kernel, and nobody should wait for it."""
    if ranks is not None:
        ranks.leave()
    flush()
    os._exit(app.return_code or 0)
