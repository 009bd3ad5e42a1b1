"""What the screen does with each report of the engine thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from llmdbg.frontends.tui.input.choosing import arrived
from llmdbg.frontends.tui.input.moving import say_what_is_seen
from llmdbg.frontends.tui.input.on_rows import stay_near
from llmdbg.frontends.tui.input.screen import Screen
from llmdbg.frontends.tui.input.showing import take_the_tour
from llmdbg.frontends.tui.input.typed_line import ask_for_line, take_picked
from llmdbg.frontends.tui.layout import for_stop
from llmdbg.frontends.tui.worker.messages import Arrived, AsksForLine, Failed, Left, Loading, Looked, Running

if TYPE_CHECKING:
    from textual.geometry import Size
    from textual.message import Message

    from llmdbg.frontends.tui.input.kept_keys import KeptKeys


class ReportedTo(Screen, Protocol):
    """The screen as reports see it. The app implements it."""

    kept_keys: KeptKeys
    """The keys that wait for the first stop."""
    resumes: bool
    """Whether a saved session is to be restored first."""
    problems: tuple[str, ...]
    """What is wrong with the preferences."""

    @property
    def size(self) -> Size:
        """Of the screen, in cells."""

    def paint(self) -> None:
        """Make the rows of everything in view."""

    def paint_progress(self) -> None:
        """Make the rows that a run changes as it goes."""

    def exit(self, result: BaseException | None = None) -> None:
        """Close the screen."""


def take(app: ReportedTo, message: Message) -> None:
    """Change the state as a report says, and show it."""
    if isinstance(message, Loading):
        app.state.loading = message.progress
        app.paint()
    elif isinstance(message, Running):
        _run_on(app, message)
    elif isinstance(message, Arrived):
        _arrive(app, message)
        app.follow()
    elif isinstance(message, Looked):
        _look(app, message)
        app.follow()
    elif isinstance(message, AsksForLine):
        ask_for_line(app)
        app.follow()
    elif isinstance(message, Failed):
        app.exit(message.error)
    elif isinstance(message, Left):
        app.exit()


def _run_on(app: ReportedTo, message: Running) -> None:
    """Show how far a run has come."""
    began = not app.state.running
    app.state.run, app.state.running = message.progress, True
    if began:
        app.paint()
    else:
        app.paint_progress()


def _arrive(app: ReportedTo, message: Arrived) -> None:
    """Show the session's new place, and say what has happened."""
    state, before, shown = app.state, app.state.shown, message.snapshot
    shown = shown.remembering(before) if message.looked_again else shown
    state.arrive(shown, message.title)
    stay_near(app)
    if message.title == "resumed" or not app.resumes:
        app.kept_keys.release()
    if arrived(app, message.title):
        take_picked(app)
    if before is not None and not before.same_place(shown):
        app.scroll_home("explain")
    if message.title.split(" ")[0] == "tour" and not message.error:
        take_the_tour(app)
    if message.looked_again:
        return
    state.note(before, message.title, message.whole, message.error)
    if before is None and app.problems and not message.error:
        state.say(f"{app.problems[0]} · `llmdbg doctor` says more", "warn")
        return
    state.view = for_stop(state.view, candidates=shown.stop.candidates is not None)
    state.report(before, message.title, message.answer, message.error, app.size.width)


def _look(app: ReportedTo, message: Looked) -> None:
    """Show the stage that the user looks at, unless another has been selected since."""
    state, seen = app.state, message.snapshot
    if seen is None:
        state.looked = None
        state.say(message.error, "warn")
    elif seen.stop.stage.address == state.to_look_at():
        state.looked = seen
        state.view = for_stop(state.view, candidates=seen.stop.candidates is not None)
        say_what_is_seen(state, seen)
