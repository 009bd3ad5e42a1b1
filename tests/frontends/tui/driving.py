"""The screen driven by keys, for tests: requests, keys, waiting, and what is seen."""

import time

from textual.events import MouseScrollDown, MouseScrollUp

from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.launch_request import LaunchRequest
from llmdbg.models.spec import ModelSpec

SIZES = [(80, 24), (120, 40)]
_KEYS = {" ": "space", ".": "full_stop", "@": "at", "-": "minus", "#": "number_sign", '"': "quotation_mark"}


def request(folder, *, breakpoints=(), commands=(), tokens=4, **settings):
    return LaunchRequest(
        ModelSpec(str(folder)),
        "The quick brown fox",
        GenerationSettings(max_new_tokens=tokens, **(settings or {"greedy": True})),
        breakpoints=breakpoints,
        commands=commands,
    )


async def until(pilot, holds):
    """Wait for the screen to come to a state."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "the screen did not get there"
        await pilot.pause(0.01)
    await pilot.pause()


async def loaded(pilot, app):
    await until(pilot, lambda: app.state.shown is not None and not app.engine.busy)


async def press(pilot, app, *keys):
    for key in keys:
        await pilot.press(key)
        await until(pilot, lambda: not app.engine.busy)
    await pilot.pause()


async def turn_wheel(pilot, app, id, notches):
    """Turn the mouse wheel over a pane: down, or up where `notches` is negative."""
    x, y = app.row_pane(id).region.center
    kind = MouseScrollDown if notches > 0 else MouseScrollUp
    for _ in range(abs(notches)):
        app.post_message(kind(None, x, y, 0, 0, 0, False, False, False, x, y))
    await pilot.pause()


async def typed(pilot, text):
    """Type a command line and Enter."""
    await pilot.press("colon")
    await pilot.press(*(_KEYS.get(each, each) for each in text), "enter")


async def settled(pilot, app, words):
    """Wait until nothing runs and the header says so."""
    await until(pilot, lambda: not app.engine.busy and words in line(app, "header"))


def pane(app, id):
    return "\n".join(row.text for row in app.row_pane(id).rows)


def line(app, id):
    return app.row_pane(id).line


def here(app):
    return f"{app.state.shown.stop.stage.address}@{app.state.shown.stop.token}"


def watched_debuggers(monkeypatch):
    """The debuggers that engine threads make from now on, newest last: what is behind the screen."""
    made: list[Debugger] = []
    real = Debugger.__init__

    def noted(self, *arguments, **settings):
        made.append(self)
        real(self, *arguments, **settings)

    monkeypatch.setattr(Debugger, "__init__", noted)
    return made
