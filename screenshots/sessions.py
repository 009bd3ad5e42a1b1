"""The sessions that are photographed: the demo model, driven by keys, and where a picture is taken."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import platformdirs

from llmdbg.engine.settings import GenerationSettings
from llmdbg.explain.tour_routes import MODEL
from llmdbg.frontends.launch_request import LaunchRequest
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.input.preferences import load_preferences
from llmdbg.frontends.tui.terminal.look import look
from llmdbg.models.spec import DEMO_MODEL, ModelSpec
from screenshots.clock import ticking
from screenshots.svg import screen

if TYPE_CHECKING:
    from textual.pilot import Pilot

PROMPT = "Can you write an email explaining what an LLM is?"
_SECONDS_FOR_A_COMMAND, _SECONDS_BETWEEN_LOOKS = 120, 0.01
_LOOKS_ALIKE, _SECONDS_STILL = 4, 0.1
_GREEDY = GenerationSettings(max_new_tokens=64, greedy=True)
_SAMPLED = GenerationSettings(max_new_tokens=64, greedy=False, temperature=0.7, top_k=40, top_p=0.9, seed=7)
_HUGE, _WIDE, _NARROW = (200, 50), (120, 40), (80, 24)


@dataclass(frozen=True, slots=True)
class Take:
    """Keys to press, and the name of the picture that is taken then; it may begin with a folder.

    `drawn` says that it shows a token drawn at random: a torch with another random stream draws another.
    """

    picture: str
    keys: tuple[str, ...] = ()
    drawn: bool = False


@dataclass(frozen=True, slots=True)
class PhotoSession:
    """One run of the app. `size` is (columns, lines); `theme` one of those the configuration file knows.

    `tour` is the route of a tour that it begins with; empty for none.
    """

    name: str
    size: tuple[int, int]
    settings: GenerationSettings
    takes: tuple[Take, ...]
    theme: str = "dark"
    tour: str = ""


def _typed(line: str) -> tuple[str, ...]:
    names = {" ": "space", ".": "full_stop", "_": "underscore", ":": "colon"}
    return ("colon", *(names.get(character, character) for character in line), "enter")


_OF_RUNS = (
    PhotoSession(
        "greedy",
        _WIDE,
        _GREEDY,
        (
            Take("first-stop"),
            Take("inside-a-layer", (*"n" * 13, *_typed("b 20"), *_typed("until 12.self_attn"))),
            Take("at-sampling", ("c", "t")),
            Take("whole-answer", (*_typed("del 1"), "c")),
            Take("help", ("question_mark",)),
        ),
    ),
    PhotoSession(
        "sampled",
        _WIDE,
        _SAMPLED,
        (Take("top-p", _typed("until sample.top_p")), Take("sampled", ("n",), drawn=True)),
    ),
    PhotoSession(
        "insight",
        _WIDE,
        _GREEDY,
        (Take("lens", (*_typed("until logits"), "5")), Take("attention", ("6", "z"))),
    ),
    PhotoSession("narrow", _NARROW, _GREEDY, (Take("80x24", tuple("nnnn")), Take("80x24-sampling", tuple("tt")))),
    PhotoSession("light", _WIDE, _GREEDY, (Take("light", tuple("nnnnnst")),), theme="light"),
)


def _of_layouts(size: tuple[int, int]) -> PhotoSession:
    """Each layout at one size, the layers' at a layer and the candidates' where a token is chosen."""
    layer = (*_typed("until 12.self_attn"), *_typed("layout attention"))
    keys = {"attention": layer, "numbers": _typed("layout numbers"), "watch": ("t", *_typed("layout watch"))}
    keys["learn"] = _typed("layout learn")
    columns, lines = size
    takes = tuple(Take(f"{name}/{columns}x{lines}", typed) for name, typed in keys.items())
    return PhotoSession(f"layouts-{columns}x{lines}", size, _GREEDY, takes)


def _of_tour(size: tuple[int, int]) -> PhotoSession:
    """The stops of the tour with the fullest pages at one size, each with how many stops it is further on."""
    columns, lines = size
    stops = {
        "pieces": 0,
        "embedding": 2,
        "product": 1,
        "attention": 1,
        "mlp": 1,
        "growth": 2,
        "settings": 2,
        "cache": 3,
    }
    takes = tuple(Take(f"tour/{name}-{columns}x{lines}", ("n",) * further) for name, further in stops.items())
    return PhotoSession(f"tour-{columns}x{lines}", size, _GREEDY, takes, tour=MODEL)


_SIZES = (_NARROW, _WIDE, _HUGE)

SESSIONS = (*_OF_RUNS, *map(_of_layouts, _SIZES), *map(_of_tour, _SIZES))


def photograph(session: PhotoSession) -> dict[str, str]:
    """Run a session. Returns its pictures as SVG by name. Raises TimeoutError when it does not get on."""
    with _settings(session.theme), ticking():
        return asyncio.run(_photograph(session))


async def _photograph(session: PhotoSession) -> dict[str, str]:
    preferences = load_preferences()
    app = LlmdbgApp(_request(session), preferences, look(os.environ, preferences))
    pictures = {}
    async with app.run_test(size=session.size) as pilot:
        await _at_rest(app, pilot)
        await _still(app, pilot)
        for take in session.takes:
            for key in take.keys:
                await pilot.press(key)
                await _at_rest(app, pilot)
            pictures[take.picture] = await _still(app, pilot)
    app.engine.leave(_SECONDS_FOR_A_COMMAND)
    return pictures


def _request(session: PhotoSession) -> LaunchRequest:
    # Device and dtype are said, so that a machine with a GPU draws the same.
    spec = ModelSpec(DEMO_MODEL, device="cpu", dtype="float32")
    return LaunchRequest(spec, PROMPT, session.settings, chat=True, tour=session.tour)


async def _at_rest(app: LlmdbgApp, pilot: Pilot[BaseException]) -> None:
    end = time.monotonic() + _SECONDS_FOR_A_COMMAND
    while app.state.shown is None or app.engine.busy:
        if app.return_value is not None:
            raise app.return_value
        if app.return_code is not None or time.monotonic() > end:
            raise TimeoutError("the screen did not come to rest, or has ended")
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
    await pilot.pause()


async def _still(app: LlmdbgApp, pilot: Pilot[BaseException]) -> str:
    """The picture once it no longer changes: panes are laid out and scrolled in more than one go."""
    looks = [screen(app)]
    while len(looks) < _LOOKS_ALIKE or len(set(looks[-_LOOKS_ALIKE:])) > 1:
        await pilot.pause(_SECONDS_STILL)
        looks.append(screen(app))
    return looks[-1]


@contextmanager
def _settings(theme: str) -> Iterator[None]:
    """A terminal that can do everything, and none of the settings, history and saved sessions of whoever runs this."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as home:
        os.environ.update({f"XDG_{name}_HOME": home for name in ("CONFIG", "STATE", "DATA")})
        os.environ.update({"LC_ALL": "C.UTF-8", "TERM": "xterm-256color", "COLORTERM": "truecolor"})
        for name in ("NO_COLOR", "TMUX", "STY", "SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT"):
            os.environ.pop(name, None)
        folder = platformdirs.user_config_path("llmdbg")
        folder.mkdir(parents=True)
        settings = f'theme = "{theme}"\ncolors = "truecolor"\nglyphs = "unicode"\n'
        (folder / "config.toml").write_text(settings, encoding="utf-8")
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
